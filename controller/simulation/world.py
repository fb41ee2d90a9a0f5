"""A controller's whole surroundings in virtual time: a store, a fleet, queues, a clock, and the faults between them.

    world = World(settings)
    controller = world.controller()
    world.send(30)
    controller.tick()
    world.step()

1. `step` lets time pass: workers boot, work and send heartbeats. Only the caller ticks controllers.
2. `faults` breaks the calls that controllers make. `cloud` holds the workers and causes single faults among them.
3. Heartbeats and drain requests pass through the store, as in production. With `direct=True` the roster reads the
   workers themselves: a simulated day has millions of heartbeats.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from config.settings import ControllerSettings
from controller.loop import Controller, Ports
from controller.simulation.cloud import Cloud, LaunchRequest
from controller.simulation.faults import Faults
from controller.simulation.queue import SimulatedQueue
from controller.simulation.scenario import CALM, Weather, WorkerSpec
from controller.simulation.timeline import Timeline
from controller.simulation.worker import SimulatedWorker
from core.fleet.decisions import DecisionRecord
from core.fleet.events import FleetEvent
from core.fleet.roster import Glance, Heartbeat, Roster, WorkerState
from core.storage.memory import MemoryStore
from core.storage.ports import ObjectStore
from core.util.clock import Clock

START = 1_700_000_000.0
"""Unix time at which every world begins."""
_WORKERS_CLOCK_AHEAD_S = 5_000.0
"""In a store, heartbeats carry times of another clock: nobody may compare them with the controller's."""
_SEEN_AT = 0.999
"""Share of a step after which a worker sees a drain request: just before it would take its next batch."""


class DirectRoster(Roster):
    """A roster that reads the simulated workers themselves and drops what a controller writes about its decisions."""

    def __init__(self, store: ObjectStore, cloud: Cloud) -> None:
        super().__init__(store)
        self._cloud = cloud

    def glance(self) -> Glance:
        return Glance(self.workers(), frozenset(self._cloud.drain_requests), paused=False)

    def workers(self) -> list[Heartbeat]:
        now = self._cloud.timeline.now
        return [one.heartbeat(now) for one in self._cloud.workers.values() if one.ready_s is not None]

    def forget(self, worker_ids: list[str]) -> None:
        self._cloud.forget(worker_ids)

    def request_drain(self, worker_id: str) -> None:
        self._cloud.request_drain(worker_id)

    def record_decision(self, decision: DecisionRecord) -> None:
        """Drops it: a run reads the plans."""

    def keep_past_decisions(self, records: Sequence[DecisionRecord]) -> None:
        """Drops them."""

    def keep_events(self, events: Sequence[FleetEvent]) -> None:
        """Drops them."""

    def past_decisions(self) -> tuple[DecisionRecord, ...]:
        return ()


class World:
    """`pools` have queues and workers; `configured` names those that the next controller knows, at first all."""

    def __init__(
        self,
        settings: ControllerSettings,
        pools: Sequence[str] = ("resnet50",),
        worker: WorkerSpec | None = None,
        weather: Weather = CALM,
        seed: int = 1,
        *,
        direct: bool = False,
    ) -> None:
        self.settings = settings
        self.configured = list(pools)
        self.timeline = Timeline(START)
        self.cloud = Cloud(pools, worker or WorkerSpec(), weather, self.timeline, seed)
        self.faults = Faults()
        self.objects = MemoryStore(lambda: self.now)
        """The store's content, past all faults."""
        self.store = self.faults.around(self.objects)
        self._outside = Roster(self.objects)
        roster = DirectRoster(self.store, self.cloud) if direct else None
        self._direct = self.faults.around(roster) if roster else None
        self.roster: Roster = self._direct or Roster(self.store)

    @property
    def now(self) -> float:
        """Unix time. Setting it makes all clocks jump; no worker acts meanwhile."""
        return self.timeline.now

    @now.setter
    def now(self, moment: float) -> None:
        self.timeline.now = moment

    @property
    def queue(self) -> SimulatedQueue:
        """The first pool's."""
        return next(iter(self.cloud.queues.values()))

    @property
    def launches(self) -> list[LaunchRequest]:
        """Every launch that the cloud answered, by its first call."""
        return list(self.cloud.launches.values())

    def controller(self, **options: Any) -> Controller:
        """A new controller process over this world; `options` are the Controller's own."""
        around, cloud = self.faults.around, self.cloud
        queues = {pool: around(cloud.queues[pool]) for pool in self.configured}
        ports = Ports(self.store, around(cloud), queues, self._direct)
        return Controller(ports, self.settings, clock=Clock(lambda: self.now, lambda: self.now), **options)

    def outside(self) -> AbstractContextManager[None]:
        """Calls in here are an operator's or the test's: they are not recorded and never fail."""
        return self.faults.suspended()

    def send(self, images: int, pool: str | None = None) -> None:
        """Images arrive, in the first pool where none is named."""
        self.cloud.arrive(images, pool or next(iter(self.cloud.queues)))

    def launch_outside(self, count: int = 1, pool: str | None = None) -> list[SimulatedWorker]:
        """Somebody launches instances past every controller. Raises Unavailable where the cloud does not answer."""
        token, offering = f"outside-{len(self.cloud.launches)}", self.cloud.market.menu[0]
        self.cloud.launch(pool or next(iter(self.cloud.queues)), count, token, offering)
        return self.cloud.launches[token].workers

    def change_workers(self, **changes: float) -> None:
        """Workers that are launched from now on differ from the others in these fields of WorkerSpec."""
        self.cloud.spec = replace(self.cloud.spec, **changes)  # type: ignore[arg-type]  # by the fields' names

    def step(self, seconds: float = 1.0) -> None:
        """Let time pass. Workers send a heartbeat at its end, and see drain requests just before it."""
        if self._direct is not None:
            self.timeline.run_until(self.now + seconds)
            return
        before = self.cloud.present
        for id_ in self._outside.drain_requests():
            if one := self.cloud.workers.get(id_):
                self._drain_after(seconds * _SEEN_AT, one)
        self.timeline.run_until(self.now + seconds)
        for one in before:
            if one.alive or one.state is WorkerState.DRAINED:
                self.beat(one)

    def beat(self, one: SimulatedWorker, **fields: Any) -> None:
        """Put the worker's heartbeat into the store now, with these fields from now on; nothing where it sends none."""
        if fields:  # one more than the regular ones
            one.fields.update(fields)
            one.first_seq -= 1
        if one.ready_s is None or one.hung_at is not None:
            return
        beat = one.heartbeat(self.now)
        ahead = _WORKERS_CLOCK_AHEAD_S
        moved = {"at": beat.at + ahead, "state_since": beat.state_since + ahead}
        self._outside.beat(Heartbeat.model_validate(beat.__dict__ | moved))

    def _drain_after(self, seconds: float, one: SimulatedWorker) -> None:
        self.timeline.after(seconds, lambda: self.cloud.drain(one))
