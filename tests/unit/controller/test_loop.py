"""The whole controller over a world in memory."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict, replace

import pytest

from config.settings import ControllerSettings
from controller.events.render import sentence
from controller.loop import Controller
from controller.simulation.faults import Crash
from controller.simulation.scenario import CALM
from controller.simulation.world import World
from core.fleet.decisions import Decision, Rule
from core.fleet.roster import Heartbeat, WorkerState
from tests.unit.controller.conftest import small_world

READING = {"get", "list", "instances", "offerings", "depth"}
"""The calls that change nothing."""


def live(world: World, controller: Controller, seconds: int) -> None:
    for _ in range(seconds):
        world.step()
        controller.tick()


def decision(controller: Controller) -> Decision:
    plan = controller.tick()
    assert plan is not None
    return plan.pools[0]


def test_starts_from_zero_works_everything_off_and_returns_to_zero(world: World) -> None:
    controller = world.controller()
    controller.tick()
    assert not world.launches
    world.queue.fill(30)
    controller.tick()
    assert len(world.cloud.present) == 1
    live(world, controller, 10)
    assert world.cloud.outstanding == 0
    assert len(world.cloud.present) == 1, "an idle worker lingers"
    live(world, controller, 10)
    assert not world.cloud.present
    assert not world.cloud.totals.ended_busy
    assert not world.roster.workers(), "what is gone is forgotten"
    assert not world.roster.drain_requests()


def test_a_backlog_beyond_the_goal_gets_more_workers_up_to_the_cap(world: World) -> None:
    controller = world.controller()
    world.queue.fill(200)
    controller.tick()
    assert len(world.cloud.present) == 3, "200 images at 8 a second in 10 s"
    world.queue.fill(5_000)
    controller.tick()
    assert len(world.cloud.present) == 4


def test_learns_what_its_workers_do(world: World) -> None:
    controller = world.controller()
    world.change_workers(batch=4, throughput=4.0, boot_s=6.0)
    world.queue.fill(300)
    live(world, controller, 20)
    plan = controller.tick()
    assert plan is not None
    terms = plan.pools[0].terms
    assert terms.throughput == pytest.approx(4)
    assert terms.boot_s == pytest.approx(6)


def test_a_restart_remembers(world: World) -> None:
    controller = world.controller()
    world.change_workers(boot_s=6.0)
    world.queue.fill(300)
    live(world, controller, 20)
    controller.run(stopped())
    successor = world.controller()
    plan = successor.tick()
    assert plan is not None, "a lease that was given back is free at once"
    assert plan.pools[0].terms.boot_s == pytest.approx(6)
    assert not plan.pools[0].launch


def heartbeat(id: str, seq: int) -> Heartbeat:
    """Of an idle worker that no fleet lists."""
    times = {"at": 0.0, "state_since": 0.0, "started_at": 0.0}
    return Heartbeat(worker_id=id, pool="resnet50", tagger="t", state=WorkerState.IDLE, seq=seq, **times)


def stopped() -> threading.Event:
    stop = threading.Event()
    stop.set()
    return stop


def test_a_dead_worker_is_replaced_at_once(world: World) -> None:
    controller = world.controller()
    world.queue.fill(60)
    live(world, controller, 4)
    world.cloud.die(world.cloud.present[0])
    live(world, controller, 1)
    assert len(world.cloud.present) == 1
    live(world, controller, 15)
    assert world.cloud.outstanding == 0


def test_a_worker_whose_heartbeat_stands_still_is_lost_ended_and_replaced(world: World) -> None:
    controller = world.controller()
    world.queue.fill(60)
    live(world, controller, 4)
    [lost] = world.cloud.present
    world.cloud.hang(lost)
    live(world, controller, 5)
    assert not lost.stopping
    live(world, controller, 2)
    assert lost.stopping or lost.gone
    live(world, controller, 20)
    assert lost.gone
    assert world.cloud.outstanding == 0
    assert not world.cloud.totals.ended_busy


def test_a_controller_that_slept_blames_nobody(world: World) -> None:
    controller = world.controller()
    world.queue.fill(500)
    live(world, controller, 4)
    world.now += 3_600
    controller.tick()
    live(world, controller, 3)
    assert not any("terminate" in call for call in world.faults.calls)


def test_a_boot_that_hangs_is_ended_after_its_deadline_and_tried_again(world: World) -> None:
    controller = world.controller()
    world.queue.fill(5)
    controller.tick()
    world.cloud.hang(world.cloud.present[0])
    live(world, controller, 19)
    assert len(world.launches) == 1
    live(world, controller, 10)
    assert len(world.launches) == 2
    assert world.cloud.outstanding == 0


def test_failing_boots_back_off_and_open_the_breaker_which_lets_one_trial_through(world: World) -> None:
    controller = world.controller()
    world.queue.fill(500)
    times = []
    for second in range(80):
        before = len(world.launches)
        controller.tick()
        if len(world.launches) > before:
            times.append((second, world.launches[-1].count))
        world.step()
        for one in world.cloud.present:
            world.cloud.die(one)
    assert times[0] == (0, 4), "all that the backlog asks for"
    assert times[1] == (31, 1), "four failed: the breaker is open for 30 s, then one is tried"
    assert times[2] == (62, 1)
    assert decision(controller).rule is Rule.BREAKER
    live(world, controller, 60)
    assert world.cloud.outstanding == 0, "a trial that succeeds closes the breaker"


def test_single_failures_double_the_pause(world: World, controls: ControllerSettings) -> None:
    world.settings = controls.model_copy(update={"breaker_failures": 10})
    controller = world.controller()
    world.queue.fill(5)
    times = []
    for second in range(40):
        before = len(world.launches)
        controller.tick()
        if len(world.launches) > before:
            times.append(second)
        world.step()
        for one in world.cloud.present:
            world.cloud.die(one)
    assert times == [0, 2, 5, 10, 19, 36]


def test_no_capacity_is_answered_with_patience_not_with_a_storm(world: World) -> None:
    controller = world.controller()
    world.cloud.market.room = 0
    world.queue.fill(500)
    live(world, controller, 30)
    assert len(world.launches) <= 4
    assert "no capacity" in decision(controller).details.refused
    world.cloud.market.room = 10
    live(world, controller, 40)
    assert world.launches[-1].count > 1, "once one is ready, the rest comes at once"
    assert world.cloud.outstanding == 0


@pytest.mark.parametrize("broken", ["depth", "instances", "offerings", "list fleet/"])
def test_a_failed_reading_changes_nothing_and_says_so(world: World, broken: str) -> None:
    controller = world.controller()
    world.queue.fill(20)
    live(world, controller, 8)
    assert world.cloud.outstanding == 0
    world.faults.broken = {broken}
    live(world, controller, 60)
    assert len(world.cloud.present) == 1
    assert decision(controller).rule is Rule.UNREAD
    world.faults.broken = set()
    live(world, controller, 30)
    assert not world.cloud.present


def test_a_store_that_is_away_stops_everything_and_nothing_is_lost(world: World) -> None:
    controller = world.controller()
    world.queue.fill(20)
    world.faults.broken = {"put", "get", "list", "delete"}
    live(world, controller, 30)
    assert not world.launches
    world.faults.broken = set()
    live(world, controller, 10)
    assert world.cloud.outstanding == 0


@pytest.mark.parametrize("lost", ["put fleet/controller.json", "launch"])
def test_a_lost_answer_doubles_nothing(world: World, lost: str) -> None:
    controller = world.controller()
    controller.tick()
    world.queue.fill(20)
    world.faults.lost_answers = {lost}
    live(world, controller, 5)
    world.faults.lost_answers = set()
    live(world, controller, 5)
    assert len(world.launches) == 1
    assert len(world.cloud.present) == 1


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_call_neither_loses_nor_doubles_workers(controls: ControllerSettings, after: bool) -> None:
    calls = 0
    for fuse in range(1, 100):
        world = small_world(controls)
        world.queue.fill(30)
        world.faults.crash_at(fuse, after=after)
        try:
            world.controller().tick()
        except Crash:
            calls += 1
        else:
            break
        successor = world.controller()
        for _ in range(7):
            world.now += 1
            successor.tick()
        assert len(world.launches) == 1, f"crash at call {fuse}"
        assert len(world.cloud.present) == 1, f"crash at call {fuse}"
    assert calls >= 8


def test_instances_that_are_not_listed_yet_count(world: World) -> None:
    controller = world.controller()
    world.cloud.weather = replace(CALM, list_lag_s=1e9)
    world.queue.fill(10_000)
    for _ in range(5):
        controller.tick()
    assert len(world.cloud.present) == 4
    assert len(world.launches) == 1


def test_orphans_are_adopted_and_let_go_when_they_are_not_needed(controls: ControllerSettings) -> None:
    world = small_world(controls, pools=["resnet50", "pool-of-yesterday"])
    world.configured.remove("pool-of-yesterday")
    world.launch_outside(2)
    world.launch_outside(1, "pool-of-yesterday")
    controller = world.controller()
    plan = controller.tick()
    assert plan is not None
    assert plan.pools[0].terms.billable == 3
    live(world, controller, 3)
    assert len(json.loads(world.objects.get("fleet/controller.json").data)["known"]) == 3
    live(world, controller, 30)
    assert not world.cloud.present


def test_a_worker_started_by_hand_is_capacity_but_is_neither_billed_nor_touched(world: World) -> None:
    controller = world.controller()
    controller.tick()
    for second in range(60):
        world.now += 1
        with world.outside():
            world.roster.beat(heartbeat("guest", second))
        plan = controller.tick()
        assert plan is not None
        assert plan.pools[0].action == "hold"
    assert plan.pools[0].terms.by_hand == 1
    assert plan.pools[0].terms.billable == 0
    world.queue.fill(5)
    assert not controller.tick().pools[0].launch  # type: ignore[union-attr]
    for _ in range(10):
        world.now += 1
        controller.tick()
    assert world.cloud.present, "it has died: its heartbeat counts no more"
    assert [beat.worker_id for beat in world.roster.workers()] != ["guest"]


def test_the_heartbeat_of_a_worker_that_died_long_ago_delays_nothing(world: World) -> None:
    with world.outside():
        world.roster.beat(heartbeat("of-one-before-the-power-failed", 1))
    world.queue.fill(5)
    world.controller().tick()
    assert len(world.cloud.present) == 1


def test_a_second_controller_stands_by_and_takes_over_when_the_first_is_silent(world: World) -> None:
    first, second = world.controller(), world.controller()
    for _ in range(20):
        world.step()
        assert first.tick() is not None
        assert second.tick() is None
    waited = 0
    while second.tick() is None:
        world.step()
        waited += 1
    assert waited == pytest.approx(world.settings.lease_s, abs=1)
    calls = len(world.faults.calls)
    world.queue.fill(10)
    assert first.tick() is None, "fenced"
    assert not any("launch" in call for call in world.faults.calls[calls:])


def test_a_controller_that_was_replaced_in_the_middle_of_a_tick_launches_nothing(world: World) -> None:
    first, second = world.controller(), world.controller()
    first.tick()
    world.queue.fill(10)
    with world.outside():
        second.tick()
        world.now += world.settings.lease_s + 1
        world.queue.fill(0)
        assert second.tick() is not None
    world.queue.fill(10)
    assert first.tick() is None
    assert not world.launches


def test_a_dry_run_makes_no_mutating_call(world: World) -> None:
    controller = world.controller(dry_run=True)
    world.queue.fill(500)
    live(world, controller, 5)
    plan = controller.tick()
    assert plan is not None
    assert plan.pools[0].launch == 4
    assert {call.split()[0] for call in world.faults.calls} <= READING


def test_a_dry_run_beside_a_live_controller_changes_nothing(world: World) -> None:
    controller, dry = world.controller(), world.controller(dry_run=True)
    world.queue.fill(100)
    for _ in range(30):
        world.step()
        controller.tick()
        before = len(world.faults.calls)
        dry.tick()
        assert {call.split()[0] for call in world.faults.calls[before:]} <= READING
    assert not world.cloud.present


def test_at_rest_the_store_is_written_a_few_times_a_minute(world: World) -> None:
    controller = world.controller()
    controller.tick()
    world.faults.calls.clear()
    live(world, controller, 60)
    puts = [call for call in world.faults.calls if call.startswith("put")]
    assert len([put for put in puts if "controller.json" in put]) <= 60, "the lease, once a tick"
    assert len([put for put in puts if "decisions" in put]) <= 6


def test_decisions_are_written_for_all_to_see(world: World) -> None:
    controller = world.controller()
    world.queue.fill(30)
    plan = controller.tick()
    [record] = world.roster.decisions()
    assert plan is not None
    assert record.action == "launch 1"
    assert record.reason == sentence(plan.pools[0])
    assert record.terms == {"rule": "launch", **asdict(plan.pools[0].terms)}
