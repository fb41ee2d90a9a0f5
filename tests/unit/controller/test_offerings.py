"""Launches by offering: what comes next without capacity, what a replay repeats, what the budget lets through."""

from __future__ import annotations

import json

import pytest

from config.settings import ControllerSettings
from controller.loop import Controller
from controller.simulation.faults import Crash
from controller.simulation.world import World
from core.fleet.decisions import Rule
from core.storage import layout
from core.storage.ports import Offering
from tests.unit.controller.conftest import small_world

SPOT = Offering("g4dn.xlarge", "a", "spot", 0.16)
OTHER_SPOT = Offering("g4dn.xlarge", "b", "spot", 0.17)
ON_DEMAND = Offering("g4dn.xlarge", "a", "on-demand", 0.526)


@pytest.fixture
def world(controls: ControllerSettings) -> World:
    world = small_world(controls)
    world.cloud.market.menu = [SPOT, OTHER_SPOT, ON_DEMAND]
    return world


def live(world: World, controller: Controller, seconds: int) -> None:
    for _ in range(seconds):
        world.step()
        controller.tick()


def spend(world: World) -> float:
    return sum(one.offering.price for one in world.cloud.present)


def test_what_has_no_capacity_is_passed_over_in_the_same_tick_down_to_on_demand(world: World) -> None:
    world.cloud.market.sold_out = {SPOT, OTHER_SPOT}
    world.queue.fill(200)
    world.controller().tick()
    assert [one.offering for one in world.cloud.present] == [ON_DEMAND] * 3
    assert len({launch.token for launch in world.launches}) == 3, "a token belongs to one offering"
    assert not any(record.terms["rule"] == Rule.BREAKER for record in world.roster.decisions())


def test_an_offering_is_asked_again_when_its_time_aside_is_over(world: World) -> None:
    world.cloud.market.sold_out = {SPOT, OTHER_SPOT, ON_DEMAND}
    controller = world.controller()
    world.queue.fill(20)
    controller.tick()
    assert len(world.launches) == 3
    plan = controller.tick()
    assert plan is not None
    assert plan.pools[0].rule is Rule.NO_CAPACITY
    live(world, controller, 178)
    assert len(world.launches) == 3
    world.cloud.market.sold_out = {SPOT}
    live(world, controller, 3)
    assert [one.offering for one in world.cloud.present] == [OTHER_SPOT]


def test_a_replay_repeats_the_same_request_although_another_offering_is_best_now(world: World) -> None:
    world.queue.fill(20)
    world.faults.lost_answers = {"launch"}
    world.controller().tick()
    world.faults.lost_answers = set()
    world.cloud.market.menu = [ON_DEMAND, Offering("g4dn.xlarge", "a", "spot", 0.19)]
    world.now += world.settings.lease_s + 1
    successor = world.controller()
    live(world, successor, 4)
    assert len(world.cloud.present) == 1
    assert all(len(launch.asked) == 1 for launch in world.launches)


@pytest.mark.parametrize("after", [False, True])
def test_a_crash_between_two_offerings_neither_loses_nor_doubles_workers(
    controls: ControllerSettings, after: bool
) -> None:
    for fuse in range(1, 100):
        world = small_world(controls)
        world.cloud.market.menu, world.cloud.market.sold_out = [SPOT, ON_DEMAND], {SPOT}
        world.queue.fill(200)
        world.faults.crash_at(fuse, after=after)
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
        assert [one.offering for one in world.cloud.present] == [ON_DEMAND] * 3, f"crash at call {fuse}"
        assert all(len(launch.asked) == 1 for launch in world.launches)
    assert fuse > 10


def test_the_budget_is_a_hard_stop_also_for_the_offering_that_is_fallen_back_to(world: World) -> None:
    world.settings = world.settings.model_copy(update={"budget_per_hour": 0.6})
    world.cloud.market.sold_out = {SPOT, OTHER_SPOT}
    world.queue.fill(5_000)
    controller = world.controller()
    controller.tick()
    assert [one.offering for one in world.cloud.present] == [ON_DEMAND], "three fit at the price of spot"
    plan = controller.tick()
    assert plan is not None
    assert plan.pools[0].rule is Rule.BUDGET
    assert (plan.pools[0].rule, plan.pools[0].terms.budget_per_hour) == (Rule.BUDGET, 0.60)
    assert plan.pools[0].terms.spend_per_hour == pytest.approx(0.526)


def test_workers_that_leave_are_paid_for_until_they_are_gone(world: World) -> None:
    world.settings = world.settings.model_copy(update={"budget_per_hour": 0.35})
    world.queue.fill(5_000)
    controller = world.controller()
    live(world, controller, 4)
    assert len(world.cloud.present) == 2
    world.cloud.hang(world.cloud.present[0])
    for _ in range(30):
        live(world, controller, 1)
        assert spend(world) <= 0.35
    assert len([one for one in world.cloud.present if one.functional]) == 2, "it was replaced once it was gone"


def test_a_permanent_refusal_is_not_hammered_and_says_what_to_do(world: World) -> None:
    world.cloud.market.refusal = "these credentials may not ec2:RunInstances; add that to the policy of the role"
    world.queue.fill(500)
    controller = world.controller()
    live(world, controller, 60)
    assert len(world.launches) <= 3
    [decision] = world.roster.decisions()
    assert world.cloud.market.refusal in decision.reason
    assert decision.terms["rule"] == Rule.BREAKER
    world.cloud.market.refusal = ""
    live(world, controller, 60)
    assert not world.cloud.outstanding


def test_a_worker_whose_machine_is_taken_away_is_replaced_at_once_and_ended_by_nobody(world: World) -> None:
    controller = world.controller()
    world.queue.fill(150)
    live(world, controller, 4)
    before = len(world.cloud.present)
    taken = world.cloud.present[0]
    world.cloud.drain(taken)
    world.beat(taken, leaving="EC2 takes this spot instance back at 04:52:30")
    controller.tick()
    assert len(world.cloud.present) == before + 1
    assert not taken.stopping
    assert world.cloud.present[-1].offering == OTHER_SPOT, "there is no room where it is just being taken away"
    plan = controller.tick()
    assert plan is not None
    assert plan.pools[0].terms.draining == 1


def test_a_worker_that_ended_its_own_machine_after_a_notice_is_replaced_elsewhere(world: World) -> None:
    """To EC2 that is an ordinary end, as when a surplus worker goes: only its heartbeat knows better."""
    controller = world.controller()
    world.queue.fill(60)
    live(world, controller, 4)
    [taken] = world.cloud.present
    world.cloud.leave(taken)
    world.beat(taken, leaving="EC2 takes this spot instance back at 04:52:30")
    world.cloud.die(taken)
    world.queue.fill(60)
    controller.tick()
    assert [one.offering for one in world.cloud.present] == [OTHER_SPOT]
    live(world, controller, 200)
    assert not world.cloud.market.is_aside(SPOT), "a record that stays sets nothing aside anew"


def test_a_worker_whose_machine_may_be_taken_away_stays_and_others_are_launched_elsewhere(world: World) -> None:
    controller = world.controller()
    world.queue.fill(20)
    live(world, controller, 4)
    [one] = world.cloud.present
    world.beat(one, at_risk="EC2 may soon end this spot instance")
    for _ in range(30):
        world.queue.fill(max(world.queue.visible, 1))
        live(world, controller, 1)
    assert world.cloud.present == [one], "a recommendation replaces nobody"
    world.queue.fill(300)
    live(world, controller, 1)
    assert {each.offering for each in world.cloud.present if each is not one} == {OTHER_SPOT}


def test_an_instance_that_was_stopped_is_ended_and_replaced(world: World) -> None:
    controller = world.controller()
    world.queue.fill(60)
    live(world, controller, 4)
    [one] = world.cloud.present
    world.cloud.halt(one)
    controller.tick()
    assert one.stopping
    assert len(world.cloud.present) == 2


def test_a_launch_that_is_never_answered_is_no_worker_that_boots(world: World) -> None:
    world.cloud.market.silent = {SPOT}
    world.queue.fill(20)
    controller = world.controller()
    live(world, controller, 2)
    [decision] = world.roster.decisions()
    assert decision.terms["requested"] == 1, "an answer is lost now and then"
    live(world, controller, 2)
    assert [one.offering for one in world.cloud.present] == [OTHER_SPOT]
    [decision] = world.roster.decisions()
    assert "AWS has a problem (InternalError)" in decision.reason
    live(world, controller, 1)
    [decision] = world.roster.decisions()
    assert (decision.terms["unanswered"], decision.terms["billable"]) == (1, 2), "it may have launched one"
    live(world, controller, 30)
    assert not world.cloud.outstanding


def test_a_launch_that_was_never_answered_launches_nothing_once_others_do_the_work(world: World) -> None:
    world.cloud.market.silent = {SPOT}
    world.queue.fill(20)
    controller = world.controller()
    live(world, controller, 10)
    world.cloud.market.silent = set()
    live(world, controller, int(world.settings.boot_deadline_s) + 1)
    assert [one.offering for launch in world.launches for one in launch.workers] == [OTHER_SPOT]
    live(world, controller, 2)
    assert json.loads(world.objects.get(layout.CONTROLLER).data)["intents"] == []


def test_launches_that_no_offering_answers_are_tried_ever_more_seldom_and_go_on_with_the_first_answer(
    world: World,
) -> None:
    world.cloud.market.silent = {SPOT, OTHER_SPOT, ON_DEMAND}
    world.queue.fill(20)
    controller = world.controller()
    live(world, controller, 60)
    [decision] = world.roster.decisions()
    assert "cannot launch" in decision.reason
    assert decision.terms["billable"] <= world.settings.max_workers
    world.cloud.market.silent = set()
    live(world, controller, 60)
    assert not world.cloud.outstanding
