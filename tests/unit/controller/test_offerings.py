"""Launches by offering: what comes next without capacity, what a replay repeats, what the budget lets through."""

from __future__ import annotations

import json

import pytest

from config.settings import ControllerSettings
from controller.loop import Controller
from core.fleet.decisions import Rule
from core.fleet.roster import WorkerState
from core.storage import layout
from core.storage.ports import Offering
from tests.unit.controller.fakes import Crash, World

SPOT = Offering("g4dn.xlarge", "a", "spot", 0.16)
OTHER_SPOT = Offering("g4dn.xlarge", "b", "spot", 0.17)
ON_DEMAND = Offering("g4dn.xlarge", "a", "on-demand", 0.526)


@pytest.fixture
def world(controls: ControllerSettings) -> World:
    world = World(controls)
    world.fleet.menu = [SPOT, OTHER_SPOT, ON_DEMAND]
    return world


def live(world: World, controller: Controller, seconds: int) -> None:
    for _ in range(seconds):
        world.step()
        controller.tick()


def spend(world: World) -> float:
    return sum(one.offering.price for one in world.fleet.alive)


def test_what_has_no_capacity_is_passed_over_in_the_same_tick_down_to_on_demand(world: World) -> None:
    world.fleet.sold_out = {SPOT, OTHER_SPOT}
    world.queue.visible = 200
    world.controller().tick()
    assert [one.offering for one in world.fleet.alive] == [ON_DEMAND] * 3
    assert len({token for _, _, token in world.fleet.launches}) == 3, "a token belongs to one offering"
    assert not any("breaker" in record.reason for record in world.roster.decisions())


def test_an_offering_is_asked_again_when_its_time_aside_is_over(world: World) -> None:
    world.fleet.sold_out = {SPOT, OTHER_SPOT, ON_DEMAND}
    controller = world.controller()
    world.queue.visible = 20
    controller.tick()
    assert len(world.fleet.launches) == 3
    plan = controller.tick()
    assert plan is not None
    assert plan.pools[0].rule is Rule.NO_CAPACITY
    live(world, controller, 178)
    assert len(world.fleet.launches) == 3
    world.fleet.sold_out = {SPOT}
    live(world, controller, 3)
    assert [one.offering for one in world.fleet.alive] == [OTHER_SPOT]


def test_a_replay_repeats_the_same_request_although_another_offering_is_best_now(world: World) -> None:
    world.queue.visible = 20
    world.lost_answers = {"launch"}
    world.controller().tick()
    world.lost_answers = set()
    world.fleet.menu = [ON_DEMAND, Offering("g4dn.xlarge", "a", "spot", 0.19)]
    world.now += world.settings.lease_s + 1
    successor = world.controller()
    live(world, successor, 4)
    assert len(world.fleet.alive) == 1
    assert all(len(requests) == 1 for requests in world.fleet.requests.values())


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_between_two_offerings_neither_loses_nor_doubles_workers(
    controls: ControllerSettings, after: bool
) -> None:
    for fuse in range(1, 100):
        world = World(controls)
        world.fleet.menu, world.fleet.sold_out = [SPOT, ON_DEMAND], {SPOT}
        world.queue.visible = 200
        world.fuse, world.fuse_after = fuse, after
        try:
            world.controller().tick()
        except Crash:
            pass
        else:
            break
        successor = world.controller()
        for _ in range(7):
            world.now += 1
            successor.tick()
        assert [one.offering for one in world.fleet.alive] == [ON_DEMAND] * 3, f"crash at call {fuse}"
        assert all(len(requests) == 1 for requests in world.fleet.requests.values())
    assert fuse > 10


def test_the_budget_is_a_hard_stop_also_for_the_offering_that_is_fallen_back_to(world: World) -> None:
    world.settings = world.settings.model_copy(update={"budget_per_hour": 0.6})
    world.fleet.sold_out = {SPOT, OTHER_SPOT}
    world.queue.visible = 5_000
    controller = world.controller()
    controller.tick()
    assert [one.offering for one in world.fleet.alive] == [ON_DEMAND], "three fit at the price of spot"
    plan = controller.tick()
    assert plan is not None
    assert plan.pools[0].rule is Rule.BUDGET
    assert (plan.pools[0].rule, plan.pools[0].terms.budget_per_hour) == (Rule.BUDGET, 0.60)
    assert plan.pools[0].terms.spend_per_hour == pytest.approx(0.526)


def test_workers_that_leave_are_paid_for_until_they_are_gone(world: World) -> None:
    world.settings = world.settings.model_copy(update={"budget_per_hour": 0.35})
    world.queue.visible = 5_000
    controller = world.controller()
    live(world, controller, 4)
    assert len(world.fleet.alive) == 2
    world.fleet.alive[0].hung = True
    for _ in range(30):
        live(world, controller, 1)
        assert spend(world) <= 0.35
    assert len([one for one in world.fleet.alive if not one.hung]) == 2, "it was replaced once it was gone"


def test_a_permanent_refusal_is_not_hammered_and_says_what_to_do(world: World) -> None:
    world.fleet.refusal = "these credentials may not ec2:RunInstances; add that to the policy of the role"
    world.queue.visible = 500
    controller = world.controller()
    live(world, controller, 60)
    assert len(world.fleet.launches) <= 3
    [decision] = world.roster.decisions()
    assert world.fleet.refusal in decision.reason
    assert "circuit breaker is open" in decision.reason
    world.fleet.refusal = ""
    live(world, controller, 60)
    assert not world.outstanding


def test_a_worker_whose_machine_is_taken_away_is_replaced_at_once_and_ended_by_nobody(world: World) -> None:
    controller = world.controller()
    world.queue.visible = 150
    live(world, controller, 4)
    before = len(world.fleet.alive)
    taken = world.fleet.alive[0]
    taken.leaving = "EC2 takes this spot instance back at 04:52:30"
    world.say(taken, WorkerState.DRAINING)
    controller.tick()
    assert len(world.fleet.alive) == before + 1
    assert not taken.stopping
    assert world.fleet.alive[-1].offering == OTHER_SPOT, "there is no room where it is just being taken away"
    plan = controller.tick()
    assert plan is not None
    assert plan.pools[0].terms.draining == 1


def test_a_worker_that_ended_its_own_machine_after_a_notice_is_replaced_elsewhere(world: World) -> None:
    """To EC2 that is an ordinary end, as when a surplus worker goes: only its heartbeat knows better."""
    controller = world.controller()
    world.queue.visible = 60
    live(world, controller, 4)
    [taken] = world.fleet.alive
    taken.leaving = "EC2 takes this spot instance back at 04:52:30"
    world.say(taken, WorkerState.DRAINED)
    taken.alive = False
    world.queue.visible = 60
    controller.tick()
    assert [one.offering for one in world.fleet.alive] == [OTHER_SPOT]
    live(world, controller, 200)
    assert world.fleet.aside[SPOT] < world.now, "a record that stays sets nothing aside anew"


def test_a_worker_whose_machine_may_be_taken_away_stays_and_others_are_launched_elsewhere(world: World) -> None:
    controller = world.controller()
    world.queue.visible = 20
    live(world, controller, 4)
    [one] = world.fleet.alive
    one.at_risk = "EC2 may soon end this spot instance"
    world.say(one, WorkerState.IDLE)
    for _ in range(30):
        world.queue.visible = max(world.queue.visible, 1)
        live(world, controller, 1)
    assert world.fleet.alive == [one], "a recommendation replaces nobody"
    world.queue.visible = 300
    live(world, controller, 1)
    assert {each.offering for each in world.fleet.alive if each is not one} == {OTHER_SPOT}


def test_an_instance_that_was_stopped_is_ended_and_replaced(world: World) -> None:
    controller = world.controller()
    world.queue.visible = 60
    live(world, controller, 4)
    [one] = world.fleet.alive
    one.halted = one.hung = True
    controller.tick()
    assert one.stopping
    assert len(world.fleet.alive) == 2


def test_a_launch_that_is_never_answered_is_no_worker_that_boots(world: World) -> None:
    world.fleet.silent = {SPOT}
    world.queue.visible = 20
    controller = world.controller()
    live(world, controller, 2)
    [decision] = world.roster.decisions()
    assert decision.terms["requested"] == 1, "an answer is lost now and then"
    live(world, controller, 2)
    assert [one.offering for one in world.fleet.alive] == [OTHER_SPOT]
    [decision] = world.roster.decisions()
    assert "AWS has trouble of its own (InternalError)" in decision.reason
    live(world, controller, 1)
    [decision] = world.roster.decisions()
    assert (decision.terms["unanswered"], decision.terms["billable"]) == (1, 2), "it may have launched one"
    live(world, controller, 30)
    assert not world.outstanding


def test_a_launch_that_was_never_answered_launches_nothing_once_others_do_the_work(world: World) -> None:
    world.fleet.silent = {SPOT}
    world.queue.visible = 20
    controller = world.controller()
    live(world, controller, 10)
    world.fleet.silent = set()
    live(world, controller, int(world.settings.boot_deadline_s) + 1)
    assert [one.offering for one in world.fleet.workers.values()] == [OTHER_SPOT]
    live(world, controller, 2)
    assert json.loads(world.objects.get(layout.CONTROLLER).data)["intents"] == []


def test_launches_that_no_offering_answers_are_tried_ever_more_seldom_and_go_on_with_the_first_answer(
    world: World,
) -> None:
    world.fleet.silent = {SPOT, OTHER_SPOT, ON_DEMAND}
    world.queue.visible = 20
    controller = world.controller()
    live(world, controller, 60)
    [decision] = world.roster.decisions()
    assert "cannot launch" in decision.reason
    assert decision.terms["billable"] <= world.settings.max_workers
    world.fleet.silent = set()
    live(world, controller, 60)
    assert not world.outstanding
