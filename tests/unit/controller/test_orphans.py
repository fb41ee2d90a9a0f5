"""Instances that are tagged as ours and that no ledger knows: those that live are adopted, the others are ended."""

from __future__ import annotations

import json

import pytest

from config.settings import ControllerSettings
from controller.loop import Controller
from controller.simulation.worker import SimulatedWorker
from controller.simulation.world import World
from tests.unit.controller.conftest import small_world


def live(world: World, controller: Controller, seconds: int) -> None:
    for _ in range(seconds):
        world.step()
        controller.tick()


def stray(world: World, *, hung: bool) -> SimulatedWorker:
    """An instance whose token was never intended."""
    [one] = world.launch_outside()
    if hung:
        world.cloud.hang(one)
    return one


def known(world: World) -> list[str]:
    return json.loads(world.objects.get("fleet/controller.json").data)["known"]


def test_one_that_gives_no_sign_of_life_is_looked_at_for_a_while_then_ended(world: World) -> None:
    controller = world.controller()
    controller.tick()
    one = stray(world, hung=True)
    live(world, controller, 6)
    assert not one.stopping, "ended only after it was silent for lost_after_s"
    assert known(world) == []
    live(world, controller, 3)
    assert not one.alive
    live(world, controller, 5)
    [decision] = world.roster.decisions()
    assert decision.terms["failures"] == 0, "its end is no failed boot of ours"


def test_a_single_look_ends_nothing_however_old_it_is(world: World) -> None:
    one = stray(world, hung=True)
    world.now += 5_000
    controller = world.controller()
    controller.tick()
    world.now += 5_000
    controller.tick()
    assert not one.stopping, "the controller slept: it has hardly watched"


def test_one_that_is_silent_is_no_capacity(world: World) -> None:
    one = stray(world, hung=True)
    world.queue.fill(5)
    world.controller().tick()
    assert [other.id for other in world.cloud.present if other is not one] != []


def test_it_is_billed_while_it_is_looked_at(world: World) -> None:
    stray(world, hung=True)
    world.queue.fill(5_000)
    world.controller().tick()
    assert len(world.cloud.present) == world.settings.max_workers


@pytest.mark.parametrize("busy", [False, True])
def test_a_ledger_that_is_lost_costs_no_worker(world: World, busy: bool) -> None:
    first = world.controller()
    world.queue.fill(5_000 if busy else 40)
    live(world, first, 10)
    before = {one.id for one in world.cloud.present}
    assert before
    world.objects.delete(["fleet/controller.json"])
    successor = world.controller()
    live(world, successor, 4)
    assert {one.id for one in world.cloud.present} == before, "none is ended, and none launched in its place"
    assert sorted(known(world)) == sorted(before)
    assert not world.cloud.totals.ended_busy


def test_an_owner_writes_the_lost_ledger_anew(world: World) -> None:
    controller = world.controller()
    world.queue.fill(150)
    live(world, controller, 6)
    before = known(world)
    world.objects.delete(["fleet/controller.json"])
    live(world, controller, 4)
    assert known(world) == before


def test_dry_run_ends_no_orphan(controls: ControllerSettings) -> None:
    world = small_world(controls)
    one = stray(world, hung=True)
    live(world, world.controller(dry_run=True), 30)
    assert not one.stopping
