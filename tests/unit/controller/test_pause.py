"""A paused fleet: it works on, and neither grows nor shrinks."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.policy.policy import decide
from controller.simulation.world import World
from controller.state.model import Observation, Policy, PoolView, Stage, Worker
from core.fleet.decisions import Rule
from core.storage.ports import Depth
from tests.unit.controller.test_loop import live


def pause(world: World) -> None:
    with world.outside():
        world.roster.pause()


def resume(world: World) -> None:
    with world.outside():
        world.roster.resume()


def test_while_paused_no_worker_comes_and_after_it_one_does(world: World) -> None:
    controller = world.controller()
    pause(world)
    world.queue.fill(12)
    live(world, controller, 20)
    assert not world.launches
    plan = controller.tick()
    assert plan is not None
    assert (plan.pools[0].rule, plan.pools[0].action, plan.pools[0].terms.waiting) == (Rule.PAUSED, "hold", 12)
    resume(world)
    live(world, controller, 8)
    assert world.cloud.outstanding == 0


def test_while_paused_workers_work_and_none_is_drained(world: World) -> None:
    controller = world.controller()
    world.queue.fill(60)
    live(world, controller, 4)
    pause(world)
    live(world, controller, 60)
    assert world.cloud.outstanding == 0
    assert len(world.cloud.present) == 1, "idle far beyond the linger"
    resume(world)
    live(world, controller, 5)
    assert not world.cloud.present


def test_what_is_lost_is_ended_in_a_pause_too(world: World) -> None:
    controller = world.controller()
    world.queue.fill(60)
    live(world, controller, 4)
    pause(world)
    [lost] = world.cloud.present
    world.cloud.hang(lost)
    live(world, controller, 10)
    assert lost.gone
    assert len(world.launches) == 1, "and is not replaced"


def test_a_launch_that_was_decided_before_the_pause_waits_for_its_end(world: World) -> None:
    first = world.controller()
    world.queue.fill(5)
    world.faults.broken = {"launch"}
    first.tick()
    assert not world.launches
    pause(world)
    world.faults.broken = set()
    live(world, first, 5)
    assert not world.launches
    resume(world)
    live(world, first, 1)
    [launch] = world.launches
    assert launch.count == 1


def test_a_successor_that_cannot_read_launches_nothing_on_a_guess(world: World) -> None:
    first = world.controller()
    world.queue.fill(5)
    world.faults.broken = {"launch"}
    first.tick()
    pause(world)
    world.faults.broken = {"list fleet/"}
    successor = world.controller()
    live(world, successor, 40)
    assert not world.launches
    resume(world)
    world.faults.broken = set()
    live(world, successor, 1)
    assert len(world.launches) == 1


stages = st.sampled_from([stage for stage in Stage if stage is not Stage.GONE])
workers = st.lists(st.builds(Worker, st.uuids().map(str), stages, *[st.floats(0, 500)] * 2, st.integers(0, 9)))
depths = st.builds(Depth, *[st.integers(0, 5_000)] * 4, st.just(0.0))


@given(pools=st.dictionaries(st.sampled_from("abc"), st.tuples(depths, workers), min_size=1), cap=st.integers(0, 5))
def test_whatever_is_seen_a_pause_changes_no_count(small: Policy, pools: dict, cap: int) -> None:
    views = tuple(PoolView(name, depth, tuple(crew)) for name, (depth, crew) in pools.items())
    plan, memory = decide(Observation(1.0, views, paused=True), {}, small)
    again, _ = decide(Observation(60.0, views, paused=True), memory, small)
    for pool in (*plan.pools, *again.pools):
        assert (pool.launch, pool.drain, pool.rule) == (0, (), Rule.PAUSED)
        for worker in pools[pool.pool][1]:
            assert worker.id not in pool.terminate or worker.stage not in (Stage.IDLE, Stage.BUSY)


@pytest.fixture(scope="module")
def small() -> Policy:
    return Policy(4, 10.0, 0.8, 5.0, 3.0, 2.0, 8.0, 20.0, 6.0, 10.0, 3, 30.0)


def test_a_controller_keeps_its_history(world: World) -> None:
    controller = world.controller()
    world.queue.fill(30)
    live(world, controller, 30)
    kinds = [(one.terms["rule"], one.action) for one in world.roster.past_decisions()]
    assert kinds[0] == ("launch", "launch 1")
    assert kinds[-1] == ("rest", "hold")
    assert all(before != after for before, after in pairwise(kinds))
