"""The whole controller over a world in memory."""

from __future__ import annotations

import json
import threading
from dataclasses import asdict

import pytest

from config.settings import ControllerSettings
from controller.events.render import sentence
from controller.loop import Controller
from core.fleet.decisions import Decision, Rule
from core.fleet.roster import WorkerState
from tests.unit.controller.fakes import Crash, World

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
    assert not world.fleet.launches
    world.queue.visible = 30
    controller.tick()
    assert len(world.fleet.alive) == 1
    live(world, controller, 10)
    assert world.outstanding == 0
    assert len(world.fleet.alive) == 1, "an idle worker lingers"
    live(world, controller, 10)
    assert not world.fleet.alive
    assert not world.fleet.killed_busy
    assert not world.roster.workers(), "what is gone is forgotten"
    assert not world.roster.drain_requests()


def test_a_backlog_beyond_the_goal_gets_more_workers_up_to_the_cap(world: World) -> None:
    controller = world.controller()
    world.queue.visible = 200
    controller.tick()
    assert len(world.fleet.alive) == 3, "200 images at 8 a second in 10 s"
    world.queue.visible = 5_000
    controller.tick()
    assert len(world.fleet.alive) == 4


def test_learns_what_its_workers_do(world: World) -> None:
    controller = world.controller()
    world.batch, world.boot_s = 4, 6.0
    world.queue.visible = 300
    live(world, controller, 20)
    plan = controller.tick()
    assert plan is not None
    terms = plan.pools[0].terms
    assert terms.throughput == pytest.approx(4)
    assert terms.boot_s == pytest.approx(6)


def test_a_restart_remembers(world: World) -> None:
    controller = world.controller()
    world.boot_s = 6.0
    world.queue.visible = 300
    live(world, controller, 20)
    controller.run(stopped())
    successor = world.controller()
    plan = successor.tick()
    assert plan is not None, "a lease that was given back is free at once"
    assert plan.pools[0].terms.boot_s == pytest.approx(6)
    assert not plan.pools[0].launch


def stopped() -> threading.Event:
    stop = threading.Event()
    stop.set()
    return stop


def test_a_dead_worker_is_replaced_at_once(world: World) -> None:
    controller = world.controller()
    world.queue.visible = 60
    live(world, controller, 4)
    world.kill(world.fleet.alive[0])
    live(world, controller, 1)
    assert len(world.fleet.alive) == 1
    live(world, controller, 15)
    assert world.outstanding == 0


def test_a_worker_whose_heartbeat_stands_still_is_lost_ended_and_replaced(world: World) -> None:
    controller = world.controller()
    world.queue.visible = 60
    live(world, controller, 4)
    [lost] = world.fleet.alive
    lost.hung = True
    live(world, controller, 5)
    assert not lost.stopping
    live(world, controller, 2)
    assert lost.stopping
    live(world, controller, 20)
    assert not lost.alive
    assert world.outstanding == 0
    assert not world.fleet.killed_busy


def test_a_controller_that_slept_blames_nobody(world: World) -> None:
    controller = world.controller()
    world.queue.visible = 500
    live(world, controller, 4)
    world.now += 3_600
    controller.tick()
    live(world, controller, 3)
    assert not any("terminate" in call for call in world.calls)


def test_a_boot_that_hangs_is_ended_after_its_deadline_and_tried_again(world: World) -> None:
    controller = world.controller()
    world.queue.visible = 5
    controller.tick()
    world.fleet.alive[0].hung = True
    live(world, controller, 19)
    assert len(world.fleet.launches) == 1
    live(world, controller, 10)
    assert len(world.fleet.launches) == 2
    assert world.outstanding == 0


def test_failing_boots_back_off_and_open_the_breaker_which_lets_one_trial_through(world: World) -> None:
    controller = world.controller()
    world.queue.visible = 500
    times = []
    for second in range(80):
        before = len(world.fleet.launches)
        controller.tick()
        if len(world.fleet.launches) > before:
            times.append((second, world.fleet.launches[-1][1]))
        for one in world.fleet.alive:
            one.doomed = True
        world.step()
    assert times[0] == (0, 4), "all that the backlog asks for"
    assert times[1] == (31, 1), "four failed: the breaker is open for 30 s, then one is tried"
    assert times[2] == (62, 1)
    assert decision(controller).rule is Rule.BREAKER
    live(world, controller, 60)
    assert world.outstanding == 0, "a trial that succeeds closes the breaker"


def test_single_failures_double_the_pause(world: World, controls: ControllerSettings) -> None:
    world.settings = controls.model_copy(update={"breaker_failures": 10})
    controller = world.controller()
    world.queue.visible = 5
    times = []
    for second in range(40):
        before = len(world.fleet.launches)
        controller.tick()
        if len(world.fleet.launches) > before:
            times.append(second)
        for one in world.fleet.alive:
            one.doomed = True
        world.step()
    assert times == [0, 2, 5, 10, 19, 36]


def test_no_capacity_is_answered_with_patience_not_with_a_storm(world: World) -> None:
    controller = world.controller()
    world.fleet.room = 0
    world.queue.visible = 500
    live(world, controller, 30)
    assert len(world.fleet.launches) <= 4
    assert "no capacity" in decision(controller).details.refused
    world.fleet.room = 10
    live(world, controller, 40)
    assert world.fleet.launches[-1][1] > 1, "once one is ready, the rest comes at once"
    assert world.outstanding == 0


@pytest.mark.parametrize("broken", ["depth", "instances", "offerings", "list fleet/"])
def test_a_failed_reading_changes_nothing_and_says_so(world: World, broken: str) -> None:
    controller = world.controller()
    world.queue.visible = 20
    live(world, controller, 8)
    assert world.outstanding == 0
    world.broken = {broken}
    live(world, controller, 60)
    assert len(world.fleet.alive) == 1
    assert decision(controller).rule is Rule.UNREAD
    world.broken = set()
    live(world, controller, 30)
    assert not world.fleet.alive


def test_a_store_that_is_away_stops_everything_and_nothing_is_lost(world: World) -> None:
    controller = world.controller()
    world.queue.visible = 20
    world.broken = {"put", "get", "list", "delete"}
    live(world, controller, 30)
    assert not world.fleet.launches
    world.broken = set()
    live(world, controller, 10)
    assert world.outstanding == 0


@pytest.mark.parametrize("lost", ["put fleet/controller.json", "launch"])
def test_a_lost_answer_doubles_nothing(world: World, lost: str) -> None:
    controller = world.controller()
    controller.tick()
    world.queue.visible = 20
    world.lost_answers = {lost}
    live(world, controller, 5)
    world.lost_answers = set()
    live(world, controller, 5)
    assert len(world.fleet.launches) == 1
    assert len(world.fleet.alive) == 1


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_at_any_call_neither_loses_nor_doubles_workers(controls: ControllerSettings, after: bool) -> None:
    calls = 0
    for fuse in range(1, 100):
        world = World(controls)
        world.queue.visible = 30
        world.fuse, world.fuse_after = fuse, after
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
        assert len(world.fleet.launches) == 1, f"crash at call {fuse}"
        assert len(world.fleet.alive) == 1, f"crash at call {fuse}"
    assert calls >= 8


def test_instances_that_are_not_listed_yet_count(world: World) -> None:
    controller = world.controller()
    world.fleet.listed = False
    world.queue.visible = 10_000
    for _ in range(5):
        controller.tick()
    assert len(world.fleet.alive) == 4
    assert len(world.fleet.launches) == 1


def test_orphans_are_adopted_and_let_go_when_they_are_not_needed(controls: ControllerSettings) -> None:
    world = World(controls, pools=["resnet50", "pool-of-yesterday"])
    world.configured.remove("pool-of-yesterday")
    with world.outside():
        world.fleet.launch("resnet50", 2, "of-a-ledger-that-was-deleted")
        world.fleet.launch("pool-of-yesterday", 1, "of-older-settings")
    controller = world.controller()
    plan = controller.tick()
    assert plan is not None
    assert plan.pools[0].terms.billable == 3
    live(world, controller, 3)
    assert len(json.loads(world.objects.get("fleet/controller.json").data)["known"]) == 3
    live(world, controller, 30)
    assert not world.fleet.alive


def test_a_worker_started_by_hand_is_capacity_but_is_neither_billed_nor_touched(world: World) -> None:
    controller = world.controller()
    controller.tick()
    with world.outside():
        world.fleet.launch("resnet50", 1, "by-hand")
    [guest] = world.fleet.workers.values()
    world.fleet.workers.clear()
    for _ in range(60):
        world.now += 1
        world.say(guest, WorkerState.IDLE)
        plan = controller.tick()
        assert plan is not None
        assert plan.pools[0].action == "hold"
    assert plan.pools[0].terms.by_hand == 1
    assert plan.pools[0].terms.billable == 0
    world.queue.visible = 5
    assert not controller.tick().pools[0].launch  # type: ignore[union-attr]
    for _ in range(10):
        world.now += 1
        controller.tick()
    assert world.fleet.alive, "it has died: its heartbeat counts no more"
    assert [beat.worker_id for beat in world.roster.workers()] != [guest.id]


def test_the_heartbeat_of_a_worker_that_died_long_ago_delays_nothing(world: World) -> None:
    with world.outside():
        world.fleet.launch("resnet50", 1, "before-the-power-failed")
    [dead] = world.fleet.workers.values()
    world.say(dead, WorkerState.IDLE)
    world.fleet.workers.clear()
    world.queue.visible = 5
    world.controller().tick()
    assert len(world.fleet.alive) == 1


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
    calls = len(world.calls)
    world.queue.visible = 10
    assert first.tick() is None, "fenced"
    assert not any("launch" in call for call in world.calls[calls:])


def test_a_controller_that_was_replaced_in_the_middle_of_a_tick_launches_nothing(world: World) -> None:
    first, second = world.controller(), world.controller()
    first.tick()
    world.queue.visible = 10
    with world.outside():
        second.tick()
        world.now += world.settings.lease_s + 1
        world.queue.visible = 0
        assert second.tick() is not None
    world.queue.visible = 10
    assert first.tick() is None
    assert not world.fleet.launches


def test_a_dry_run_makes_no_mutating_call(world: World) -> None:
    controller = world.controller(dry_run=True)
    world.queue.visible = 500
    live(world, controller, 5)
    plan = controller.tick()
    assert plan is not None
    assert plan.pools[0].launch == 4
    assert {call.split()[0] for call in world.calls} <= READING


def test_a_dry_run_beside_a_live_controller_changes_nothing(world: World) -> None:
    controller, dry = world.controller(), world.controller(dry_run=True)
    world.queue.visible = 100
    for _ in range(30):
        world.step()
        controller.tick()
        before = len(world.calls)
        dry.tick()
        assert {call.split()[0] for call in world.calls[before:]} <= READING
    assert not world.fleet.alive


def test_at_rest_the_store_is_written_a_few_times_a_minute(world: World) -> None:
    controller = world.controller()
    controller.tick()
    world.calls.clear()
    live(world, controller, 60)
    puts = [call for call in world.calls if call.startswith("put")]
    assert len([put for put in puts if "controller.json" in put]) <= 60, "the lease, once a tick"
    assert len([put for put in puts if "decisions" in put]) <= 6


def test_decisions_are_written_for_all_to_see(world: World) -> None:
    controller = world.controller()
    world.queue.visible = 30
    plan = controller.tick()
    [record] = world.roster.decisions()
    assert plan is not None
    assert record.action == "launch 1"
    assert record.reason == sentence(plan.pools[0])
    assert record.terms == {"rule": "launch", **asdict(plan.pools[0].terms)}
