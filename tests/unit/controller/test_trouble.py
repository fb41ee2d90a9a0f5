"""What goes wrong in one place stays there."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from config.settings import ControllerSettings
from controller.simulation.world import World
from controller.state.model import Plan
from core.fleet.decisions import Decision
from core.storage import layout
from tests.unit.controller.conftest import small_world


@pytest.fixture
def world(controls: ControllerSettings) -> World:
    return small_world(controls, ["one", "two"])


def plan_of(plan: Plan | None, pool: str) -> Decision:
    assert plan is not None
    return next(one for one in plan.pools if one.pool == pool)


@pytest.mark.parametrize("broken", ["launch one", "offerings one", "depth jobs-one"])
@pytest.mark.parametrize("first", ["one", "two"])
def test_a_pool_that_cannot_launch_holds_up_no_other(world: World, broken: str, first: str) -> None:
    controller = world.controller()
    world.faults.broken.add(broken)
    world.cloud.queues[first].fill(5)
    controller.tick()
    for queue in world.cloud.queues.values():
        queue.fill(5)
    for _ in range(3):
        world.step()
        controller.tick()
    assert {one.instance.pool for one in world.cloud.present} == {"two"}
    world.faults.broken.clear()
    world.step()
    controller.tick()
    assert {one.instance.pool for one in world.cloud.present} == {"one", "two"}


def test_an_intent_that_fails_is_called_once_a_tick_and_named(world: World) -> None:
    controller = world.controller()
    world.faults.broken.add("launch")
    for queue in world.cloud.queues.values():
        queue.fill(5)
    with capture_logs() as said:
        for _ in range(3):
            controller.tick()
            world.step()
    assert sum(call.startswith("launch") for call in world.faults.calls) == 3 * 2
    told = [line["event"] for line in said if "could not be launched" in line["event"]]
    assert len(told) == 2, "one line for each pool"
    assert {line.split(" could")[0] for line in told} == {"workers of one", "workers of two"}


def test_a_pool_whose_offerings_cannot_be_read_is_left_as_it_is(world: World) -> None:
    controller = world.controller()
    world.faults.broken.add("offerings one")
    plan = controller.tick()
    assert "what may be launched for one cannot be read" in plan_of(plan, "one").details.because
    assert not plan_of(plan, "two").details.because


def test_a_cap_that_cannot_be_read_stays_what_it_was_and_is_said(world: World) -> None:
    world.roster.set_cap(2)
    controller = world.controller()
    assert plan_of(controller.tick(), "one").terms.cap == 2
    world.objects.put(layout.CAP, b"not a cap")
    with capture_logs() as said:
        plans = [controller.tick() for _ in range(3)]
    assert {plan_of(plan, "one").terms.cap for plan in plans} == {2}
    [line] = [line["event"] for line in said if layout.CAP in line["event"]]
    assert "stays 2" in line
    world.roster.set_cap(None)
    assert plan_of(controller.tick(), "one").terms.cap == world.settings.max_workers
    world.objects.put(layout.CAP, b"not a cap either")
    with capture_logs() as said:
        assert plan_of(controller.tick(), "one").terms.cap == world.settings.max_workers
    [line] = [line["event"] for line in said if layout.CAP in line["event"]]
    assert "controller.max_workers" in line


@pytest.mark.parametrize("broken", ["instances", f"list {layout.FLEET}"])
def test_while_the_fleet_cannot_be_read_no_launch_that_was_decided_before_is_made(
    controls: ControllerSettings, broken: str
) -> None:
    """Somebody else may have launched meanwhile: the last look at the fleet holds no cap."""
    world = small_world(controls.model_copy(update={"max_workers": 2}))
    controller = world.controller()
    world.queue.fill(300)
    world.faults.broken.add("launch")
    controller.tick()
    world.faults.broken = {broken}
    world.launch_outside()
    for _ in range(3):
        world.step()
        controller.tick()
    assert len(world.cloud.present) == 1
    world.faults.broken.clear()
    for _ in range(3):
        world.step()
        controller.tick()
        assert len(world.cloud.present) <= 2
    assert len(world.cloud.present) == 2


def test_a_pause_that_cannot_be_read_is_kept_too(world: World) -> None:
    controller = world.controller()
    world.queue.fill(5)
    world.faults.broken.add("launch")
    controller.tick()
    world.faults.broken = {f"list {layout.FLEET}"}
    world.roster.pause()
    world.step()
    controller.tick()
    assert not world.cloud.present


def launched_workers(world: World) -> int:
    return sum(len(launch.workers) for launch in world.launches)


def test_workers_that_break_at_work_are_tried_one_by_one(world: World) -> None:
    """Each that breaks costs its messages a delivery: launched again and again, they would all be dead letters soon."""
    controller = world.controller()
    world.cloud.queues["one"].fill(900)
    launched: list[tuple[int, int]] = []
    for second in range(130):
        before = launched_workers(world)
        controller.tick()
        if new := launched_workers(world) - before:
            launched.append((second, new))
        for one in world.cloud.present:
            one.breaks = "RuntimeError: out of memory" if second < 70 else ""
        world.step()
    assert launched == [(0, 4), (33, 1), (66, 1), (99, 1), (102, 3)], (
        "the last trial finishes images: the others follow"
    )
