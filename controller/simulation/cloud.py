"""The simulated cloud: instances that are launched, boot, work off the queue, drain, hang, die and are taken away."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from controller.simulation.queue import Portion, SimulatedQueue
from controller.simulation.scene import Machine, Weather
from controller.simulation.timeline import Timeline
from controller.simulation.worker import SimulatedWorker, what_stays
from core.errors import Unavailable
from core.fleet.roster import BootTimings, WorkerState
from core.storage.ports import Cause, Instance, InstanceState, Launch, Offering

_PENDING_SHARE = 0.15
"""Of a boot is over when the instance is running."""
_SHUTDOWN_S = 5.0
_LISTED_GONE_S = 60.0
_NOTICE_S = 120.0
"""From the notice of an interruption to its end."""
_NO_CAPACITY_S = 300.0
_SET_ASIDE_S = 180.0
"""An offering without capacity is not offered for so long."""
_ZONES = ("a", "b", "c")


class Cloud:
    """One pool's queue and instances. Each kind of chance has a stream of its own: policies meet the same boots."""

    def __init__(self, pool: str, machine: Machine, weather: Weather, timeline: Timeline, seed: int) -> None:
        self.pool = pool
        self.machine = machine
        self.weather = weather
        self.timeline = timeline
        self.queue = SimulatedQueue(f"jobs-{pool}", timeline, weather, self._stream(seed, "counts"))
        self.workers: dict[str, SimulatedWorker] = {}
        """All that are listed or have a heartbeat."""
        self.waits: list[tuple[float, int]] = []
        """Seconds from an image's arrival to its result, and of how many images."""
        self.done = 0
        self.cost = 0.0
        """$ of the workers whose bill has ended."""
        self.boots: list[float] = []
        """Seconds of those that ended in a ready worker."""
        self.launches: dict[str, list[SimulatedWorker]] = {}
        self.wishes: set[str] = set()
        self.ended_busy: list[str] = []
        """Workers that the controller ended while they were working."""
        self.menu = [Offering("simulated", zone, "on-demand", machine.price) for zone in _ZONES]
        """What there is to be had, best first."""
        self._boots, self._works = self._stream(seed, "boots"), self._stream(seed, "works")
        self._faults, self._calls = self._stream(seed, "faults"), self._stream(seed, "calls")
        self._idle: list[SimulatedWorker] = []
        self._dry_until: dict[Offering, float] = {}
        self._aside_until: dict[Offering, float] = {}

    def _stream(self, seed: int, kind: str) -> random.Random:
        return random.Random(f"{seed} {self.pool} {kind}")  # noqa: S311  # a simulation's chance, not a secret

    # --- figures ------------------------------------------------------------------------------

    @property
    def billed(self) -> list[SimulatedWorker]:
        return [one for one in self.workers.values() if one.billed_until is None]

    @property
    def ready(self) -> int:
        """Workers that take work."""
        return sum(one.state.ready and one.alive and one.hung_at is None for one in self.workers.values())

    # --- producers ----------------------------------------------------------------------------

    def arrive(self, count: int) -> None:
        self.queue.put(count)
        self._feed()

    def _feed(self) -> None:
        """SQS hands messages to whichever long poll it likes: to an idle worker by chance."""
        idle = self._idle
        while idle and self.queue.visible:
            one = idle[self._works.randrange(len(idle))]
            self._leave_idle(one)
            self._take(one)

    # --- the fleet port -----------------------------------------------------------------------

    def instances(self) -> list[Instance]:
        self._answer("the fleet")
        now = self.timeline.now
        return [one.instance for one in self.workers.values() if one.listed_at <= now]

    def offerings(self, pool: str) -> list[Offering]:
        now = self.timeline.now
        return [one for one in self.menu if self._aside_until.get(one, 0.0) <= now]

    def launch(self, pool: str, count: int, token: str, offering: Offering) -> Launch:
        self._answer("the fleet")
        if token not in self.launches:
            granted = self._granted(count, offering)
            name = (
                f"{len(self.launches):06}"  # a token is made by chance, and the policy goes by names where all is equal
            )
            self.launches[token] = [self._start(f"{name}-{number}", token, offering) for number in range(granted)]
            if granted < count:
                self._aside_until[offering] = self.timeline.now + _SET_ASIDE_S
        launched = self.launches[token]
        short = count - len(launched)
        reason = f"no capacity for {offering}" if short else ""
        return Launch([one.instance for one in launched], short, reason, Cause.CAPACITY)

    def set_aside(self, ids: Sequence[str]) -> None:
        for instance in (self.workers[id_].instance for id_ in ids if id_ in self.workers):
            for offering in self.menu:
                if (offering.type, offering.zone, offering.market) == (instance.type, instance.zone, instance.market):
                    self._aside_until[offering] = self.timeline.now + _SET_ASIDE_S

    def terminate(self, ids: Sequence[str]) -> None:
        self._answer("the fleet")
        for one in (self.workers[id_] for id_ in ids if id_ in self.workers):
            if one.alive:
                if one.working:
                    self.ended_busy.append(one.id)
                self._stop(one)

    def _answer(self, part: str) -> None:
        if self.weather.outages and self._calls.random() < self.weather.outages:
            raise Unavailable(f"{part} does not answer")

    def _granted(self, count: int, offering: Offering) -> int:
        weather, now = self.weather, self.timeline.now
        if now < self._dry_until.get(offering, 0.0):
            return 0
        if weather.no_capacity and self._calls.random() < weather.no_capacity:
            self._dry_until[offering] = now + _NO_CAPACITY_S
            return 0
        if weather.partial_launches and self._calls.random() < weather.partial_launches:
            return count // 2
        return count

    # --- what the roster tells ----------------------------------------------------------------

    def request_drain(self, id_: str) -> None:
        """The worker sees the wish at one of its next heartbeats."""
        self.wishes.add(id_)
        one = self.workers.get(id_)
        if one is not None:
            self.timeline.after(self.machine.heartbeat_s, lambda: self.drain(one))

    def forget(self, ids: Sequence[str]) -> None:
        for id_ in ids:
            self.wishes.discard(id_)
            one = self.workers.get(id_)
            if one is not None:
                one.ready_s = None

    # --- the life of a worker -----------------------------------------------------------------

    def _start(self, id_: str, token: str, offering: Offering) -> SimulatedWorker:
        now, weather, chance = self.timeline.now, self.weather, self._boots
        boot = self.machine.boot_s * chance.lognormvariate(0.0, weather.boot_spread)
        lot, slow = chance.random(), chance.random() < weather.slow_workers
        lag = chance.expovariate(1 / weather.list_lag_s) if weather.list_lag_s else 0.0
        instance = Instance(
            id_,
            self.pool,
            InstanceState.PENDING,
            now,
            token,
            zone=offering.zone,
            type=offering.type,
            price=offering.price,
        )
        speed = self.machine.throughput * (0.5 if slow else 1.0)
        one = self.workers[id_] = SimulatedWorker(instance, now + lag, speed, self.machine.heartbeat_s)
        one.said = what_stays(id_, self.pool, now)
        self.timeline.after(boot * _PENDING_SHARE, lambda: self._running(one))
        if lot < weather.failed_boots:
            self.timeline.after(boot, lambda: self.die(one))
        elif lot >= weather.failed_boots + weather.hung_boots:
            self.timeline.after(boot, lambda: self._ready(one))
        if weather.interruption_s:
            self.timeline.after(self._faults.expovariate(1 / weather.interruption_s), lambda: self.interrupt(one))
        return one

    def _running(self, one: SimulatedWorker) -> None:
        if one.instance.state is InstanceState.PENDING:
            one.instance = replace(one.instance, state=InstanceState.RUNNING)

    def _ready(self, one: SimulatedWorker) -> None:
        if not one.alive or one.hung_at is not None:
            return
        self.boots.append(self.timeline.now - one.instance.launched_at)
        took = one.ready_s = self.timeline.now - one.instance.launched_at
        one.said["boot"] = BootTimings(process=took, imports=took, weights=took, first_inference=took, ready=took)
        weather = self.weather
        if weather.death_s:
            self.timeline.after(self._faults.expovariate(1 / weather.death_s), lambda: self.die(one))
        if weather.hang_s:
            self.timeline.after(self._faults.expovariate(1 / weather.hang_s), lambda: self.hang(one))
        if one.asked:
            self._drained(one)
        else:
            self._take(one)

    def _take(self, one: SimulatedWorker) -> None:
        one.held = self.queue.take(self.machine.batch)
        one.holds = sum(portion.count for portion in one.held)
        if not one.holds:
            self._say(one, WorkerState.IDLE)
            one.place = len(self._idle)
            self._idle.append(one)
            return
        self._say(one, WorkerState.BUSY)
        seconds = one.holds / one.speed
        if self.weather.work_spread:
            seconds *= self._works.lognormvariate(0.0, self.weather.work_spread)
        self.timeline.after(seconds, lambda: self._finish(one, seconds))

    def _finish(self, one: SimulatedWorker, seconds: float) -> None:
        if not one.alive or one.hung_at is not None:
            return
        now, waits = self.timeline.now, self.waits
        for portion in one.held:
            waits.append((now - portion.arrived, portion.count))
        self.queue.done(one.held)
        self.done += one.holds
        one.done += one.holds
        one.busy_s += seconds
        one.held, one.holds = [], 0
        if one.asked:
            self._drained(one)
        else:
            self._take(one)

    def _say(self, one: SimulatedWorker, state: WorkerState) -> None:
        if one.state is not state:
            one.state, one.since = state, self.timeline.now

    def _leave_idle(self, one: SimulatedWorker) -> None:
        if one.place >= 0:
            last = self._idle.pop()
            if last is not one:
                self._idle[one.place], last.place = last, one.place
            one.place = -1

    # --- the end of a worker ------------------------------------------------------------------

    def drain(self, one: SimulatedWorker) -> None:
        """It finishes what it has in hand, takes no more, and ends itself."""
        if not one.alive or one.hung_at is not None or one.asked:
            return
        one.asked = True
        self._leave_idle(one)
        if one.holds:
            self._say(one, WorkerState.DRAINING)
        elif one.state.ready:
            self._drained(one)

    def _drained(self, one: SimulatedWorker) -> None:
        self._say(one, WorkerState.DRAINED)
        self._stop(one)

    def interrupt(self, one: SimulatedWorker) -> None:
        """The market wants the instance back."""
        self.drain(one)
        self.timeline.after(_NOTICE_S, lambda: self.die(one))

    def hang(self, one: SimulatedWorker) -> None:
        """It stands still and says nothing more; its images come back when their visibility timeout runs out."""
        if one.alive and one.hung_at is None:
            one.hung_at = self.timeline.now
            self._leave_idle(one)
            self._give_back(one)

    def die(self, one: SimulatedWorker) -> None:
        if one.alive:
            self._leave_idle(one)
            self._give_back(one)
            self._end(one)

    def _stop(self, one: SimulatedWorker) -> None:
        self._leave_idle(one)
        self._give_back(one)
        one.instance = replace(one.instance, state=InstanceState.STOPPING)
        self._close_bill(one)
        self.timeline.after(_SHUTDOWN_S, lambda: self._end(one))

    def _give_back(self, one: SimulatedWorker) -> None:
        held, one.held, one.holds = one.held, [], 0
        if held:
            self.timeline.after(self.machine.visibility_timeout_s, lambda: self._came_back(held))

    def _came_back(self, held: list[Portion]) -> None:
        self.queue.come_back(held)
        self._feed()

    def _end(self, one: SimulatedWorker) -> None:
        one.instance = replace(one.instance, state=InstanceState.GONE)
        self._close_bill(one)
        self.timeline.after(_LISTED_GONE_S, lambda: self._forgotten(one))

    def _forgotten(self, one: SimulatedWorker) -> None:
        del self.workers[one.id]

    def _close_bill(self, one: SimulatedWorker) -> None:
        if one.billed_until is None:
            one.billed_until = self.timeline.now
            self.cost += self.bill(one, self.timeline.now)

    def bill(self, one: SimulatedWorker, until: float) -> float:
        """$ for a worker whose bill ends, or is read, at `until`."""
        seconds = max(self.machine.least_billed_s, until - one.instance.launched_at)
        return seconds / 3600 * one.instance.price
