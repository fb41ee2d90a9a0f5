"""Run one trace under one policy, and keep what happened at each tick and in total."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta, timezone

from controller.policy.policy import Decide
from controller.simulation.scenario import Scenario
from controller.simulation.traces import Trace
from controller.simulation.world import START, World

POOL = "simulated"
ZONE = timezone(timedelta(seconds=-START % 86_400))
"""The time zone of a scenario's schedule: in it a run begins at midnight, on a Wednesday."""
_LONGEST_S = 2 * 3600.0
"""How long after the trace's end a run may go on until nothing is left."""


@dataclass(slots=True)
class Snapshot:
    """One tick; `at` in seconds from the start."""

    at: float
    waiting: int
    in_flight: int
    billed: int
    ready: int
    wanted: int


@dataclass(slots=True)
class SimulatedRun:
    """The outcome of one trace under one policy."""

    trace: Trace
    policy: str
    snapshots: list[Snapshot] = field(default_factory=list)
    waits: list[tuple[float, int]] = field(default_factory=list)
    """(seconds from arrival to result, images)."""
    cost: float = 0.0
    """$"""
    launched: int = 0
    worker_s: float = 0.0
    sent: int = 0
    done: int = 0
    dead: int = 0
    left: int = 0
    ended_busy: int = 0
    length_s: float = 0.0
    boot_s: float = 0.0
    """Mean of the boots that ended in a ready worker; 0 where none did."""


def simulate(trace: Trace, name: str, decide: Decide, scenario: Scenario, seed: int) -> SimulatedRun:
    """Play the trace until no work is left and no worker runs. The same arguments give the same run."""
    world = World(scenario.settings, [POOL], scenario.worker, scenario.weather, seed, direct=True)
    controller = world.controller(
        decide=decide, schedules={POOL: scenario.schedule} if scenario.schedule.windows else None
    )
    run = SimulatedRun(trace, name)
    _schedule_arrivals(world, iter(trace.arrivals))
    while _continues(world, trace, scenario):
        plan = controller.tick()
        wanted = plan.pools[0].terms.wanted if plan else run.snapshots[-1].wanted if run.snapshots else 0
        queue, cloud = world.queue, world.cloud
        at = world.now - START
        run.snapshots.append(Snapshot(at, queue.visible, queue.held, len(cloud.billed), cloud.ready, wanted))
        world.step(scenario.settings.tick_s)
    _sum_up(run, world)
    return run


def _schedule_arrivals(world: World, arrivals: Iterator[tuple[float, int]]) -> None:
    """One event ahead of time, however many there are."""
    coming = next(arrivals, None)
    if coming is None:
        return
    moment, count = coming

    def arrive() -> None:
        world.send(count)
        _schedule_arrivals(world, arrivals)

    world.timeline.after(START + moment - world.now, arrive)


def _continues(world: World, trace: Trace, scenario: Scenario) -> bool:
    now, cloud = world.now - START, world.cloud
    if now < trace.length_s:
        return True
    unfinished = bool(cloud.outstanding or (cloud.billed and not scenario.runs_ahead))
    return now < trace.length_s + _LONGEST_S and unfinished


def _sum_up(run: SimulatedRun, world: World) -> None:
    now, queue, cloud, totals = world.now, world.queue, world.cloud, world.cloud.totals
    run.waits = totals.waits
    run.cost = totals.cost + sum(cloud.bill(one, now) for one in cloud.billed)
    run.worker_s = run.cost / cloud.spec.price * 3600
    run.launched = sum(len(launch.workers) for launch in cloud.launches.values())
    run.sent, run.done, run.dead, run.left = queue.sent, totals.done, queue.dead, queue.outstanding
    run.ended_busy = len(totals.ended_busy)
    run.length_s = now - START
    run.boot_s = sum(totals.boots) / len(totals.boots) if totals.boots else 0.0
