"""How little the roster asks of the store."""

from __future__ import annotations

import pytest

from controller.simulation.world import World
from core.errors import Unavailable
from core.fleet.roster import Heartbeat, WorkerState


def beat(id: str, seq: int = 1) -> Heartbeat:
    return Heartbeat(
        worker_id=id,
        pool="resnet50",
        tagger="fake",
        state=WorkerState.IDLE,
        seq=seq,
        at=0.0,
        state_since=0.0,
        started_at=0.0,
    )


def asked(world: World) -> list[str]:
    calls, world.faults.calls = world.faults.calls, []
    return sorted(calls)


def test_only_heartbeats_that_changed_are_fetched(world: World) -> None:
    for number in range(40):
        world.roster.beat(beat(f"w{number:02}"))
    asked(world)
    assert len(world.roster.workers()) == 40
    assert len(asked(world)) == 1 + 40
    assert len(world.roster.workers()) == 40
    assert asked(world) == ["list fleet/workers/"]
    world.roster.beat(beat("w07", seq=2))
    asked(world)
    seqs = {one.worker_id: one.seq for one in world.roster.workers()}
    assert (seqs["w07"], seqs["w08"]) == (2, 1)
    assert asked(world) == ["get fleet/workers/w07.json", "list fleet/workers/"]


def test_a_look_at_a_large_fleet_fetches_a_share_and_takes_no_living_worker_for_dead(world: World) -> None:
    ids = [f"w{number:03}" for number in range(300)]
    for id_ in ids:
        world.roster.beat(beat(id_))
    assert len(world.roster.workers()) == 300
    before = dict.fromkeys(ids, 1)
    truth = 1
    read: set[str] = set()
    for _ in range(3):
        truth += 1
        for id_ in ids:
            world.roster.beat(beat(id_, seq=truth))
        asked(world)
        now = {one.worker_id: one.seq for one in world.roster.workers()}
        assert all(before[id_] < now[id_] <= truth for id_ in ids)
        gets = [call for call in asked(world) if call.startswith("get")]
        assert len(gets) == 128
        read |= set(gets)
        before = now
    assert len(read) == 300, "within three looks all were read"


def test_the_last_word_of_a_worker_is_read_although_it_was_passed_over_at_first(world: World) -> None:
    ids = [f"w{number:03}" for number in range(300)]
    for seq in (1, 2):
        for id_ in ids:
            world.roster.beat(beat(id_, seq=seq).model_copy(update={"notice": f"said {seq}"}))
        world.roster.workers()
    world.roster.workers()
    assert {one.notice for one in world.roster.workers()} == {"said 2"}
    asked(world)
    world.roster.workers()
    assert asked(world) == ["list fleet/workers/"]


def test_those_that_are_gone_are_forgotten_and_come_back_when_they_do(world: World) -> None:
    world.roster.beat(beat("a"))
    world.roster.beat(beat("b"))
    assert len(world.roster.workers()) == 2
    world.roster.forget(["a"])
    assert [one.worker_id for one in world.roster.workers()] == ["b"]
    world.roster.beat(beat("a"))
    assert len(world.roster.workers()) == 2


def test_what_cannot_be_read_is_passed_over_and_not_fetched_again(world: World) -> None:
    world.store.put("fleet/workers/new.json", b'{"a later version": true}')
    assert world.roster.workers() == []
    asked(world)
    assert world.roster.workers() == []
    assert asked(world) == ["list fleet/workers/"]
    world.roster.beat(beat("new"))
    assert len(world.roster.workers()) == 1


@pytest.mark.parametrize("workers", [2, 40])
def test_a_store_that_fails_meanwhile_is_no_smaller_fleet(world: World, workers: int) -> None:
    for number in range(workers):
        world.roster.beat(beat(f"w{number}"))
    world.faults.broken = {"get"}
    with pytest.raises(Unavailable):
        world.roster.workers()
    world.faults.broken = set()
    assert len(world.roster.workers()) == workers


def test_a_glance_is_one_listing(world: World) -> None:
    world.roster.beat(beat("a"))
    world.roster.request_drain("a")
    world.roster.pause()
    world.store.put("fleet/controller.json", b"{}")
    world.roster.workers()
    asked(world)
    seen = world.roster.glance()
    assert ([one.worker_id for one in seen.workers], seen.drain_requests, seen.paused) == (["a"], {"a"}, True)
    assert asked(world) == ["list fleet/"]
    world.roster.resume()
    assert not world.roster.glance().paused
