"""One trace under one policy: what happened, second by second and in sum."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta, timezone

from controller.loop import Controller, Ports
from controller.policy.policy import Decide
from controller.simulation.cloud import Cloud
from controller.simulation.roster import SimulatedRoster
from controller.simulation.scene import Scene
from controller.simulation.timeline import Timeline
from controller.simulation.traces import Trace
from core.storage.memory import MemoryStore
from core.util.clock import Clock

POOL = "simulated"
_START = 1_700_000_000.0
ZONE = timezone(timedelta(seconds=-_START % 86_400))
"""Where a run begins at midnight, on a Wednesday: the zone of a scene's schedule."""
_LONGEST_S = 2 * 3600.0
"""How long after the trace's end a run may go on until nothing is left."""


@dataclass(slots=True)
class Moment:
    """What was so at one tick; `at` in seconds from the start."""

    at: float
    waiting: int
    in_flight: int
    billed: int
    ready: int
    wanted: int


@dataclass(slots=True)
class Run:
    trace: Trace
    policy: str
    moments: list[Moment] = field(default_factory=list)
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


def simulate(trace: Trace, name: str, decide: Decide, scene: Scene, seed: int) -> Run:
    """The trace from its start until nothing is left to do and no worker runs. The same arguments give the same run."""
    timeline = Timeline(_START)
    cloud = Cloud(POOL, scene.machine, scene.weather, timeline, seed)
    store = MemoryStore()
    controller = Controller(
        Ports(store, cloud, {POOL: cloud.queue}, SimulatedRoster(store, cloud)),
        scene.controls,
        clock=Clock(lambda: timeline.now, lambda: timeline.now),
        decide=decide,
        schedules={POOL: scene.schedule} if scene.schedule.windows else None,
    )
    run = Run(trace, name)
    _arrivals(cloud, iter(trace.arrivals))
    while _goes_on(cloud, trace, scene):
        plan = controller.tick()
        wanted = plan.pools[0].terms.wanted if plan else run.moments[-1].wanted if run.moments else 0
        queue, now = cloud.queue, timeline.now - _START
        billed, ready = len(cloud.billed), cloud.ready
        run.moments.append(Moment(now, queue.visible, queue.held, billed, ready, wanted))
        timeline.run_until(timeline.now + scene.controls.tick_s)
    _sum_up(run, cloud)
    return run


def _arrivals(cloud: Cloud, arrivals: Iterator[tuple[float, int]]) -> None:
    """One event ahead of the time, however many there are."""
    coming = next(arrivals, None)
    if coming is None:
        return
    moment, count = coming

    def arrive() -> None:
        cloud.arrive(count)
        _arrivals(cloud, arrivals)

    cloud.timeline.after(_START + moment - cloud.timeline.now, arrive)


def _goes_on(cloud: Cloud, trace: Trace, scene: Scene) -> bool:
    now = cloud.timeline.now - _START
    if now < trace.length_s:
        return True
    return now < trace.length_s + _LONGEST_S and bool(cloud.queue.outstanding or (cloud.billed and not scene.ahead))


def _sum_up(run: Run, cloud: Cloud) -> None:
    now, queue = cloud.timeline.now, cloud.queue
    run.waits = cloud.waits
    run.cost = cloud.cost + sum(cloud.bill(one, now) for one in cloud.billed)
    run.worker_s = run.cost / cloud.machine.price * 3600
    run.launched = sum(len(workers) for workers in cloud.launches.values())
    run.sent, run.done, run.dead, run.left = queue.sent, cloud.done, queue.dead, queue.outstanding
    run.ended_busy = len(cloud.ended_busy)
    run.length_s = now - _START
    run.boot_s = sum(cloud.boots) / len(cloud.boots) if cloud.boots else 0.0
