from __future__ import annotations

from typing import Any

import pytest

from controller.simulation.world import World
from controller.state.ledger import Fenced, Intent, Ledger
from controller.state.model import PoolMemory
from core.errors import Unavailable
from core.storage.ports import Admit, Blob


def ledger(world: World, owner: str) -> Ledger:
    return Ledger(world.store, owner, 6.0, lambda: world.now)


def test_what_is_written_is_read_again(world: World) -> None:
    first = ledger(world, "a")
    assert first.lead()
    intent = Intent("t", "p", 2, 5.0, launched=1)
    memory = {"p": PoolMemory(throughputs=(1.0, 2.0), below_s=3.0, notice="n")}
    first.know(["i"])
    first.remember(memory)
    first.open([intent])
    first.release()
    second = ledger(world, "b")
    assert second.lead()
    assert (second.intents, second.known, second.memory) == ((intent,), {"i"}, memory)
    assert second.lease.epoch == 2


def test_a_lease_is_renewed_at_a_third_of_its_length(world: World) -> None:
    one = ledger(world, "a")
    for _ in range(60):
        assert one.lead()
        world.now += 0.25
    assert 7 <= one.lease.beat <= 8


def test_renewal_changes_the_content_not_only_the_time(world: World) -> None:
    one = ledger(world, "a")
    one.lead()
    before = world.objects.get("fleet/controller.json").data
    one.write()
    assert world.objects.get("fleet/controller.json").data != before


def test_only_one_of_two_takes_a_free_lease(world: World) -> None:
    first, second = ledger(world, "a"), ledger(world, "b")
    assert first.lead()
    assert not second.lead()


def test_who_lost_the_lease_is_fenced_at_its_next_write_and_may_stand_by(world: World) -> None:
    first, second = ledger(world, "a"), ledger(world, "b")
    first.lead()
    second.lead()
    world.now += 6.0
    assert second.lead()
    with pytest.raises(Fenced):
        first.write()
    assert not first.leads
    assert not first.lead()


class Interrupted:
    """A store in which, once armed, another controller takes the lease whenever something was read."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.armed = False

    def get(self, key: str, admit: Admit | None = None) -> Blob:
        found = self._world.store.get(key)
        other = ledger(self._world, "b")
        while self.armed and not other.leads:
            other.lead()
            self._world.now += 6.0
        return found

    def __getattr__(self, name: str) -> Any:
        return getattr(self._world.store, name)


def test_who_is_replaced_while_it_finds_out_about_a_lost_answer_is_fenced(world: World) -> None:
    store = Interrupted(world)
    one = Ledger(store, "a", 6.0, lambda: world.now)  # type: ignore[arg-type]
    assert one.lead()
    world.faults.lost_answers = {"put"}
    with pytest.raises(Unavailable):
        one.write()
    world.faults.lost_answers = set()
    store.armed = True
    with pytest.raises(Fenced):
        one.write()
    assert not one.leads


def takeover_in_ticks(world: World, tick_s: float, phase_s: float) -> int:
    """How many ticks a standby needs after its leader, whose last tick was `phase_s` after its own, is dead."""
    leader = Ledger(world.store, "leader", 2.0, lambda: world.now)
    standby = Ledger(world.store, "standby", 2.0, lambda: world.now)
    for _ in range(12):
        assert leader.lead()
        world.now += tick_s - phase_s
        assert not standby.lead(), "its leader lives"
        world.now += phase_s
    ticks = 0
    world.now -= phase_s
    while not standby.leads:
        world.now += tick_s
        ticks += 1
        standby.lead()
    return ticks


@pytest.mark.parametrize("tick_s", [1.0, 1.5, 3.0, 4.9])
@pytest.mark.parametrize("phase", [0.0, 0.01, 0.5, 0.99])
def test_a_standby_takes_over_within_three_ticks_however_slow_they_are(
    world: World, tick_s: float, phase: float
) -> None:
    assert takeover_in_ticks(world, tick_s, phase * tick_s) <= 3


def test_a_machine_that_slept_does_not_make_its_lease_long(world: World) -> None:
    one, other = ledger(world, "a"), ledger(world, "b")
    one.lead()
    world.now += 3_600
    one.lead()
    assert not other.lead()
    world.now += 5 * 6.0
    assert other.lead()


def test_who_was_replaced_while_it_decided_finds_out_before_it_acts(world: World) -> None:
    first, second = ledger(world, "a"), ledger(world, "b")
    first.lead()
    second.lead()
    world.now += 6.0
    assert second.lead()
    with pytest.raises(Fenced):
        first.renew()


def test_a_write_whose_answer_was_lost_does_not_fence_its_own_writer(world: World) -> None:
    one = ledger(world, "a")
    one.lead()
    world.faults.lost_answers = {"put"}
    with pytest.raises(Unavailable):
        one.write()
    world.faults.lost_answers = set()
    one.write()
    assert one.leads


def test_a_takeover_whose_answer_was_lost_is_completed(world: World) -> None:
    one = ledger(world, "a")
    world.faults.lost_answers = {"put"}
    with pytest.raises(Unavailable):
        one.lead()
    world.faults.lost_answers = set()
    assert one.lead()


def test_an_unreadable_ledger_says_what_to_do(world: World) -> None:
    world.store.put("fleet/controller.json", b"{")
    with pytest.raises(Unavailable, match=r"fleet/controller\.json .* delete it"):
        ledger(world, "a").lead()


def test_a_later_version_may_know_more(world: World) -> None:
    world.store.put("fleet/controller.json", b'{"v":1,"lease":{"owner":"x","shard":3},"budget":7}')
    assert ledger(world, "a").lead()
