"""The simulated cloud: instances that are launched, boot, work off the queues, drain, hang, die and are taken away.

1. `Cloud` is a fleet port. `market.Market` decides what a launch gets.
2. A worker's life is a row of events on the timeline: each schedules the next one.
3. Chance decides how long boots and batches take and which faults the weather brings. Each kind of chance has a random
   stream of its own, so different policies meet the same boots.
4. `die`, `hang`, `halt`, `restart`, `interrupt` and `leave` cause single faults; tests call them.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from controller.simulation.market import Grant, Market
from controller.simulation.queue import Portion, SimulatedQueue
from controller.simulation.scenario import Weather, WorkerSpec
from controller.simulation.timeline import Timeline
from controller.simulation.worker import SimulatedWorker, heartbeat_fields
from core.errors import Unavailable
from core.fleet.roster import BootTimings, WorkerState
from core.storage.ports import Instance, InstanceState, Launch, Offering

_PENDING_SHARE = 0.15
"""Share of the boot after which the instance is running."""
_LISTED_GONE_S = 60.0
_NOTICE_S = 120.0
"""From the notice of an interruption to its end."""


class _Chances:
    """A stream of chance for each kind of event."""

    def __init__(self, seed: int, pools: Sequence[str]) -> None:
        self.boots, self.works, self.faults, self.calls = (
            stream(seed, pools, kind) for kind in ("boots", "works", "faults", "calls")
        )


def stream(seed: int, pools: Sequence[str], kind: str) -> random.Random:
    return random.Random(f"{seed} {','.join(pools)} {kind}")  # noqa: S311  # a simulation's chance, not a secret


@dataclass(slots=True)
class LaunchRequest:
    """One launch and what came of it. The same token again gets the same answer."""

    pool: str
    count: int
    token: str
    workers: list[SimulatedWorker]
    grant: Grant
    asked: set[tuple[str, int, Offering]] = field(default_factory=set)
    """Pool, count and offering of each call with this token: one alone where the caller keeps the contract."""


@dataclass(slots=True)
class Totals:
    """The totals of the whole run."""

    waits: list[tuple[float, int]] = field(default_factory=list)
    """Seconds from an image's arrival to its result, and of how many images."""
    done: int = 0
    cost: float = 0.0
    """$ of the workers whose bill has ended."""
    boots: list[float] = field(default_factory=list)
    """Seconds of the boots that ended in a ready worker."""
    ended_busy: list[str] = field(default_factory=list)
    """Workers that the controller ended while they were working."""


class Cloud:
    """The instances and queues of `pools`. The random streams follow from `seed` and the pools' names."""

    def __init__(
        self, pools: Sequence[str], worker: WorkerSpec, weather: Weather, timeline: Timeline, seed: int
    ) -> None:
        self.spec = worker
        self.timeline = timeline
        self.queues = {
            pool: SimulatedQueue(f"jobs-{pool}", timeline, weather, stream(seed, pools, "counts")) for pool in pools
        }
        self.workers: dict[str, SimulatedWorker] = {}
        """All that are listed or have a heartbeat, in the order of their launches."""
        self.launches: dict[str, LaunchRequest] = {}
        """By token, in the order in which they were first asked for."""
        self.drain_requests: set[str] = set()
        self.totals = Totals()
        self._weather = weather
        self._chances = _Chances(seed, pools)
        self._idle: dict[str, list[SimulatedWorker]] = {pool: [] for pool in pools}
        self.market = Market.on_demand(timeline, self._chances.calls, worker.price)

    @property
    def weather(self) -> Weather:
        return self._weather

    @weather.setter
    def weather(self, weather: Weather) -> None:
        self._weather = weather
        for queue in self.queues.values():
            queue.weather = weather

    # --- counts -------------------------------------------------------------------------------

    @property
    def outstanding(self) -> int:
        """Images that wait or are in flight."""
        return sum(queue.outstanding for queue in self.queues.values())

    @property
    def present(self) -> list[SimulatedWorker]:
        """Workers whose instance is not gone."""
        return [one for one in self.workers.values() if not one.gone]

    @property
    def billed(self) -> list[SimulatedWorker]:
        return [one for one in self.workers.values() if one.billed_until is None]

    @property
    def ready(self) -> int:
        """Workers that take work."""
        return sum(one.state.ready and one.functional for one in self.workers.values())

    def bill(self, one: SimulatedWorker, until: float) -> float:
        """$ for a worker whose bill ends, or is read, at `until`."""
        seconds = max(self.spec.least_billed_s, until - one.instance.launched_at)
        return seconds / 3600 * one.instance.price

    # --- producers ----------------------------------------------------------------------------

    def arrive(self, count: int, pool: str) -> None:
        self.queues[pool].put(count)
        self._feed(pool)

    def _feed(self, pool: str) -> None:
        """SQS hands messages to whichever long poll it likes: to an idle worker by chance."""
        idle, queue = self._idle[pool], self.queues[pool]
        while idle and queue.visible:
            one = idle[self._chances.works.randrange(len(idle))]
            self._leave_idle(one)
            self._take(one)

    # --- the fleet port -----------------------------------------------------------------------

    def instances(self) -> list[Instance]:
        self._answer()
        now = self.timeline.now
        return [one.instance for one in self.workers.values() if one.listed_at <= now]

    def offerings(self, pool: str) -> list[Offering]:
        return self.market.offerings()

    def launch(self, pool: str, count: int, token: str, offering: Offering) -> Launch:
        self._answer()
        self.market.check_answers(offering)
        if token not in self.launches:
            grant = self.market.grant(count, offering, len(self.present), self.weather)
            # Named by number: a token is made by chance, and the policy goes by names where all else is equal.
            name = f"{len(self.launches):06}"
            workers = [self._start(f"{name}-{number}", pool, token, offering) for number in range(grant.granted)]
            self.launches[token] = LaunchRequest(pool, count, token, workers, grant)
        request = self.launches[token]
        request.asked.add((pool, count, offering))
        return Launch(
            [one.instance for one in request.workers],
            count - len(request.workers),
            request.grant.reason,
            request.grant.cause,
        )

    def set_aside(self, ids: Sequence[str]) -> None:
        self.market.set_aside([self.workers[id_].instance for id_ in ids if id_ in self.workers])

    def terminate(self, ids: Sequence[str]) -> None:
        self._answer()
        for one in (self.workers[id_] for id_ in ids if id_ in self.workers):
            if not (one.stopping or one.gone):
                if one.working:
                    self.totals.ended_busy.append(one.id)
                self._stop(one)

    def _answer(self) -> None:
        if self.weather.outages and self._chances.calls.random() < self.weather.outages:
            raise Unavailable("the fleet does not answer")

    # --- the roster ---------------------------------------------------------------------------

    def request_drain(self, id_: str) -> None:
        """The worker sees the request at one of its next heartbeats."""
        self.drain_requests.add(id_)
        one = self.workers.get(id_)
        if one is not None:
            self.timeline.after(self.spec.heartbeat_s, lambda: self.drain(one))

    def forget(self, ids: Sequence[str]) -> None:
        """Remove the drain requests and the last heartbeats of these workers."""
        for id_ in ids:
            self.drain_requests.discard(id_)
            one = self.workers.get(id_)
            if one is not None:
                one.ready_s = None

    # --- the life of a worker -----------------------------------------------------------------

    def _start(self, id_: str, pool: str, token: str, offering: Offering) -> SimulatedWorker:
        now, weather, chance = self.timeline.now, self.weather, self._chances.boots
        boot = self.spec.boot_s * chance.lognormvariate(0.0, weather.boot_spread)
        lot, slow = chance.random(), chance.random() < weather.slow_workers
        lag = chance.expovariate(1 / weather.list_lag_s) if weather.list_lag_s else 0.0
        what = offering
        instance = Instance(id_, pool, InstanceState.PENDING, now, token, what.market, what.type, what.zone, what.price)
        speed = self.spec.throughput * (0.5 if slow else 1.0)
        one = self.workers[id_] = SimulatedWorker(instance, now + lag, speed, self.spec.heartbeat_s)
        one.fields = heartbeat_fields(id_, pool, now)
        self.timeline.after(boot * _PENDING_SHARE, lambda: self._running(one))
        if lot < weather.failed_boots:
            self.timeline.after(boot, lambda: self.die(one))
        elif lot >= weather.failed_boots + weather.hung_boots:
            self.timeline.after(boot, lambda: self._become_ready(one))
        if weather.interruption_s:
            seconds = self._chances.faults.expovariate(1 / weather.interruption_s)
            self.timeline.after(seconds, lambda: self.interrupt(one))
        return one

    def _running(self, one: SimulatedWorker) -> None:
        if one.instance.state is InstanceState.PENDING:
            one.instance = replace(one.instance, state=InstanceState.RUNNING)

    def _become_ready(self, one: SimulatedWorker) -> None:
        if not one.functional:
            return
        took = one.ready_s = self.timeline.now - one.instance.launched_at
        self.totals.boots.append(took)
        one.fields["boot"] = BootTimings(process=took, imports=took, weights=took, first_inference=took, ready=took)
        weather, chance = self.weather, self._chances.faults
        if weather.death_s:
            self.timeline.after(chance.expovariate(1 / weather.death_s), lambda: self.die(one))
        if weather.hang_s:
            self.timeline.after(chance.expovariate(1 / weather.hang_s), lambda: self.hang(one))
        if one.draining:
            self.leave(one)
        else:
            self._take(one)

    def _take(self, one: SimulatedWorker) -> None:
        one.held = self.queues[one.instance.pool].take(self.spec.batch)
        one.holds = sum(portion.count for portion in one.held)
        if not one.holds:
            self._say(one, WorkerState.IDLE)
            idle = self._idle[one.instance.pool]
            one.idle_index = len(idle)
            idle.append(one)
            return
        self._say(one, WorkerState.BUSY)
        seconds, process = one.holds / one.speed, one.process
        if self.weather.work_spread:
            seconds *= self._chances.works.lognormvariate(0.0, self.weather.work_spread)
        self.timeline.after(seconds, lambda: self._finish(one, seconds, process))

    def _finish(self, one: SimulatedWorker, seconds: float, process: int) -> None:
        if not one.functional or one.process != process:
            return
        if one.breaks:
            self.leave(one, one.breaks)
            return
        now, totals = self.timeline.now, self.totals
        for portion in one.held:
            totals.waits.append((now - portion.arrived, portion.count))
        self.queues[one.instance.pool].done(one.held)
        totals.done += one.holds
        one.done += one.holds
        one.busy_s += seconds
        one.held, one.holds = [], 0
        if one.draining:
            self.leave(one)
        else:
            self._take(one)

    def _say(self, one: SimulatedWorker, state: WorkerState) -> None:
        if one.state is not state:
            one.state, one.since = state, self.timeline.now

    def _leave_idle(self, one: SimulatedWorker) -> None:
        if one.idle_index >= 0:
            idle = self._idle[one.instance.pool]
            last = idle.pop()
            if last is not one:
                idle[one.idle_index], last.idle_index = last, one.idle_index
            one.idle_index = -1

    # --- the end of a worker ------------------------------------------------------------------

    def drain(self, one: SimulatedWorker) -> None:
        """It finishes what it holds, takes no more and ends itself."""
        if not one.functional or one.draining:
            return
        one.draining = True
        self._leave_idle(one)
        if one.holds:
            self._say(one, WorkerState.DRAINING)
        elif one.state.ready:
            self.leave(one)

    def leave(self, one: SimulatedWorker, error: str = "") -> None:
        """It gives back what it holds, says that it is drained, and stops; `error` is what ended it, if not a drain."""
        self._leave_idle(one)
        self._give_back(one)
        one.fields["ended_by"] = error
        self._say(one, WorkerState.DRAINED)
        if self.spec.exit_s:
            self.timeline.after(self.spec.exit_s, lambda: self._stop(one))
        else:
            self._stop(one)

    def interrupt(self, one: SimulatedWorker) -> None:
        """The market takes the instance back."""
        self.drain(one)
        self.timeline.after(_NOTICE_S, lambda: self.die(one))

    def hang(self, one: SimulatedWorker) -> None:
        """It sends no more heartbeats; its images come back when their visibility timeout runs out."""
        if one.functional:
            one.hung_at = self.timeline.now
            self._leave_idle(one)
            self._give_back(one)

    def halt(self, one: SimulatedWorker) -> None:
        """Somebody stops the machine: it hangs, and costs something until it is ended."""
        if one.alive:
            self.hang(one)
            one.instance = replace(one.instance, state=InstanceState.STOPPED)

    def restart(self, one: SimulatedWorker) -> None:
        """Its process dies and starts again on the same instance, as under systemd. This boot never ends."""
        self._leave_idle(one)
        self._give_back(one)
        one.process += 1
        one.first_seq = int(self.timeline.now / one.heartbeat_s) - 1
        self._say(one, WorkerState.STARTING)

    def die(self, one: SimulatedWorker) -> None:
        if one.alive:
            self._leave_idle(one)
            self._give_back(one)
            self._end(one)

    def _stop(self, one: SimulatedWorker) -> None:
        if one.gone or one.stopping:
            return
        self._leave_idle(one)
        self._give_back(one)
        one.instance = replace(one.instance, state=InstanceState.STOPPING)
        self._close_bill(one)
        self.timeline.after(self.spec.shutdown_s, lambda: self._end(one))

    def _give_back(self, one: SimulatedWorker) -> None:
        held, one.held, one.holds = one.held, [], 0
        if held:
            self.timeline.after(self.spec.visibility_timeout_s, lambda: self._come_back(held, one.instance.pool))

    def _come_back(self, held: list[Portion], pool: str) -> None:
        self.queues[pool].come_back(held)
        self._feed(pool)

    def _end(self, one: SimulatedWorker) -> None:
        one.instance = replace(one.instance, state=InstanceState.GONE)
        self._close_bill(one)
        self.timeline.after(_LISTED_GONE_S, lambda: self._unlist(one))

    def _unlist(self, one: SimulatedWorker) -> None:
        self.workers.pop(one.id, None)

    def _close_bill(self, one: SimulatedWorker) -> None:
        if one.billed_until is None:
            one.billed_until = self.timeline.now
            self.totals.cost += self.bill(one, self.timeline.now)
