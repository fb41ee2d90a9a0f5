"""One look at everything: what it finds, and that it changes nothing."""

from __future__ import annotations

import pytest

from controller.simulation.world import World
from controller.state.ledger import Intent, Ledger
from controller.state.model import PoolMemory, select_policy
from controller.state.observer import Observer
from controller.state.tracker import StateTracker
from core.fleet.roster import Roster
from core.util.clock import Clock

READING = {"get", "list", "instances", "offerings", "depth", "set_aside"}
"""The calls that change nothing. `set_aside` tells the fleet what it shall not offer."""


@pytest.fixture
def ledger(world: World) -> Ledger:
    one = Ledger(world.store, "a", 6.0, lambda: world.now)
    assert one.lead()
    return one


@pytest.fixture
def observer(world: World) -> Observer:
    around, policy = world.faults.around, select_policy(world.settings)
    queues = {pool: around(queue) for pool, queue in world.cloud.queues.items()}
    tracker, clock = StateTracker(queues, policy), Clock(lambda: world.now, lambda: world.now)
    fleet = around(world.cloud)
    return Observer(fleet, Roster(world.store), queues, tracker, clock, longest_s=10.0, boot_deadline_s=20.0)


def test_observing_changes_nothing(world: World, ledger: Ledger, observer: Observer) -> None:
    [known, _] = world.launch_outside(2)
    world.step(3.0)
    ledger.know([known.id])
    ledger.remember({"resnet50": PoolMemory(failures=1)})
    ledger.open([Intent("outside-0", "resnet50", 2, world.now, launched=2)])
    before = ledger.lease, ledger.intents, ledger.known, ledger.memory
    stored = world.objects.get("fleet/controller.json").data
    world.faults.calls.clear()
    for _ in range(3):
        observer.observe(ledger, frozenset())
        world.step()
    assert (ledger.lease, ledger.intents, ledger.known, ledger.memory) == before
    assert world.objects.get("fleet/controller.json").data == stored
    assert {call.split()[0] for call in world.faults.calls} <= READING


def test_a_launch_is_settled_once_all_its_workers_are_listed_or_never_will_be(
    world: World, ledger: Ledger, observer: Observer
) -> None:
    [one] = world.launch_outside(1)
    listed = Intent("outside-0", "resnet50", 1, world.now, launched=1)
    half = Intent("half", "resnet50", 2, world.now, launched=1)
    unanswered = Intent("unanswered", "resnet50", 1, world.now)
    ledger.open([listed, half, unanswered])
    found = observer.observe(ledger, frozenset())
    assert found.settled == (listed,)
    assert found.known == (one.id,)
    assert found.adopted == (), "a launch of it is on record"
    world.now += 20.0
    assert observer.observe(ledger, frozenset()).settled == (listed, half), "it never will be: its deadline is over"


def test_instances_that_no_ledger_knows_are_adopted_once_they_speak(
    world: World, ledger: Ledger, observer: Observer
) -> None:
    [one] = world.launch_outside(1)
    found = observer.observe(ledger, frozenset())
    assert (found.known, found.adopted) == ((), ())
    for _ in range(6):
        world.step()
        found = observer.observe(ledger, frozenset())
    assert (found.known, found.adopted) == ((one.id,), (one.id,))
    ledger.know(found.known)
    assert observer.observe(ledger, frozenset()).adopted == ()


@pytest.mark.parametrize("broken", ["instances", "list fleet/"])
def test_a_fleet_that_cannot_be_read_blinds_every_pool(
    world: World, ledger: Ledger, observer: Observer, broken: str
) -> None:
    world.faults.broken = {broken}
    found = observer.observe(ledger, frozenset())
    assert found.reading is None
    assert all("the fleet cannot be read" in view.unread for view in found.observation.pools)


def test_work_that_waits_is_seen_without_a_tick(world: World, observer: Observer) -> None:
    assert not observer.anything_waits()
    world.send(1)
    assert observer.anything_waits()
    world.faults.broken = {"depth"}
    assert not observer.anything_waits(), "what cannot be read wakes nobody"
