"""A worker that died and was started again on its own instance, as systemd does, boots anew."""

from __future__ import annotations

from controller.loop import Controller
from controller.simulation.worker import SimulatedWorker
from controller.simulation.world import World


def grown_old(world: World) -> tuple[Controller, SimulatedWorker]:
    """A worker that has been at work for longer than a boot may take."""
    controller = world.controller()
    world.queue.fill(1)
    for _ in range(40):
        world.step()
        world.queue.fill(1)
        controller.tick()
    [one] = world.cloud.present
    return controller, one


def restart(world: World, one: SimulatedWorker) -> None:
    """Its process was killed; the new one begins to count its heartbeats, and stays where it is."""
    world.cloud.restart(one)


def live(world: World, controller: Controller, one: SimulatedWorker, seconds: int) -> None:
    for _ in range(seconds):
        world.step()
        controller.tick()


def test_it_is_given_the_time_of_a_boot(world: World) -> None:
    controller, one = grown_old(world)
    restart(world, one)
    live(world, controller, one, 15)
    assert not one.stopping
    [decision] = world.roster.decisions()
    assert (decision.terms["booting"], decision.terms["failures"]) == (1, 0)


def test_it_has_failed_when_that_is_over(world: World) -> None:
    controller, one = grown_old(world)
    restart(world, one)
    live(world, controller, one, 22)
    assert not one.alive or one.stopping
    [decision] = world.roster.decisions()
    assert decision.terms["failures"] == 1
