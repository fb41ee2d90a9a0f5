"""Turn readings of the fleet, the roster and the queues into observations. No I/O.

1. A `Reading` is one look at everything. The tracker remembers the last state of each worker and each pool.
2. A worker's stage follows from its instance's state, its heartbeat, and how long both have lasted.
3. `core.fleet.liveness` decides which workers are alive. It counts successful readings only, so no worker is blamed
   while the controller cannot read.
4. Nothing counts arrivals. They are computed as the growth of a queue's counts and the workers' results together.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from controller.state.ledger import Intent
from controller.state.model import Observation, Policy, PoolDelta, PoolView, Stage, Worker
from core.fleet.liveness import Liveness
from core.fleet.roster import Heartbeat, WorkerState
from core.storage.ports import PROCESS, Depth, Instance, InstanceState, Offering

_SAMPLE_S = 1.0
"""Seconds of work that make one sample of throughput."""
_ENDING = {
    InstanceState.STOPPED: Stage.LOST,
    InstanceState.STOPPING: Stage.TERMINATING,
    InstanceState.GONE: Stage.GONE,
}
_NO_DEPTH = Depth(visible=0, in_flight=0, delayed=0, dead=0, read_at=0.0)


@dataclass(frozen=True)
class Reading:
    """One look at everything. For a queue that could not be read, `depths` holds a clause that says why."""

    at: float
    """Unix time, used only for the age of instances that were launched before this controller led."""
    instances: Sequence[Instance]
    heartbeats: Sequence[Heartbeat]
    drain_requests: Collection[str]
    depths: Mapping[str, Depth | str]
    paused: bool = False
    offerings: Mapping[str, Sequence[Offering]] = field(default_factory=dict)
    """The offerings that may be launched now, by pool."""
    cap: int | None = None

    @cached_property
    def listed(self) -> dict[str, Instance]:
        """The instances by id."""
        return {instance.id: instance for instance in self.instances}

    @cached_property
    def heard(self) -> dict[str, Heartbeat]:
        """The heartbeats by worker."""
        return {beat.worker_id: beat for beat in self.heartbeats}


@dataclass(slots=True)
class _Tracked:
    """One worker as the tracker knows it. Seconds are on the controller's own clock."""

    pool: str
    age_s: float
    """Since its launch, or since its process was started again."""
    fresh: bool
    """Launched while we led, so everything it did was observed."""
    beat: Heartbeat | None = None
    silent_s: float = 0.0
    draining_s: float | None = None
    """Since it was asked to drain, or began to on its own; None if it is not draining."""
    stray_s: float | None = None
    """Since it was first found missing from the ledger; None if the ledger knows it."""
    ready: bool = False
    failed: bool = False
    sampled: tuple[int, float] = (0, 0.0)
    """Images handled and busy seconds at the last sample of throughput."""


@dataclass(slots=True)
class _Pool:
    handled: int = 0
    """Images that its workers handled, as far as was observed."""
    failed: int = 0
    """How many of them failed since the last observation."""
    reported: int = 0
    """How many of the handled ones an observation has reported."""
    total: int | None = None
    """Outstanding, dead and handled images together. It grows with each arrival."""
    depth: Depth = _NO_DEPTH
    throughputs: list[float] = field(default_factory=list)
    boots: list[float] = field(default_factory=list)
    delta: PoolDelta = field(default_factory=PoolDelta)
    """All other changes. `throughputs` and `boots` are lists because every worker may add to them."""


class StateTracker:
    """Tracks workers and pools during one leader's term. Each new leader starts with an empty tracker."""

    def __init__(self, pools: Collection[str], policy: Policy) -> None:
        self._policy = policy
        self._configured = frozenset(pools)
        self._tracked: dict[str, _Tracked] = {}
        self._liveness = Liveness()
        self._pools: dict[str, _Pool] = {}
        self._last = Observation(0.0, tuple(PoolView(pool, _NO_DEPTH) for pool in pools))
        self.forgettable: list[str] = []
        """Ids of workers that are gone but still in the roster."""
        self.strays: set[str] = set()
        """Ids of instances that the ledger does not know and that send no heartbeat. It must not learn them."""

    def observe(
        self,
        reading: Reading,
        intents: Sequence[Intent],
        elapsed_s: float,
        known: Collection[str] | None = None,
        unanswered: Collection[str] = (),
    ) -> Observation:
        """Return the observation that follows from a reading. A pool whose queue could not be read is `unread`.

        `elapsed_s` counts from the last successful reading. `known` are the instances in the ledger; None means all.
        `unanswered` are the tokens of launches that keep failing without an answer.
        """
        names = self._configured | {instance.pool for instance in reading.instances}
        for name in names:
            self._pools.setdefault(name, _Pool())
        workers: dict[str, list[Worker]] = {name: [] for name in names}
        beats = {id_: beat.seq for id_, beat in reading.heard.items()}
        self._liveness.look({**dict.fromkeys(reading.listed), **beats}, elapsed_s)
        self._track_instances(reading, intents, elapsed_s, known, workers)
        self._track_by_hand(reading, elapsed_s, workers)
        for intent in intents:
            stage = Stage.UNANSWERED if intent.token in unanswered else Stage.REQUESTED
            for number in range(intent.unseen(reading.instances)):
                asked = Worker(f"{intent.token}/{number}", stage, price=intent.offering.price)
                workers.setdefault(intent.pool, []).append(asked)
        for id_ in self._tracked.keys() - reading.listed.keys() - reading.heard.keys():
            del self._tracked[id_]
        views = tuple(
            replace(
                self._view(name, workers[name], reading.depths.get(name, _NO_DEPTH)),
                offerings=tuple(reading.offerings.get(name, (PROCESS,))),
            )
            for name in sorted(workers)
        )
        self._last = Observation(elapsed_s, views, reading.paused, reading.cap)
        return self._last

    def repeat_unread(self, reason: str) -> Observation:
        """Return the last observation, marked as unread: the fleet or the roster did not answer. No time passes."""
        views = tuple(replace(view, unread=reason, delta=PoolDelta()) for view in self._last.pools)
        return replace(self._last, elapsed_s=0.0, pools=views)

    def add_refusal(self, pool: str, reason: str, *, lasting: bool = False) -> None:
        """Report a refused launch with the next observation. `lasting`: until somebody removes the cause."""
        self._report(pool, PoolDelta(failures=1, refused=reason, lasting=lasting))

    # --- workers ------------------------------------------------------------------------------

    def _track_instances(
        self,
        reading: Reading,
        intents: Sequence[Intent],
        elapsed_s: float,
        known: Collection[str] | None,
        workers: Mapping[str, list[Worker]],
    ) -> None:
        """Add the instances that are not gone to their pool's `workers`."""
        tokens = {intent.token for intent in intents}
        self.forgettable, self.strays = [], set()
        for instance in reading.listed.values():
            tracked, beat = self._tracked.get(instance.id), reading.heard.get(instance.id)
            if tracked is None:
                age = max(0.0, reading.at - instance.launched_at)
                tracked = self._tracked[instance.id] = _Tracked(instance.pool, age, fresh=instance.token in tokens)
                settled = instance.state is InstanceState.GONE or (beat is not None and beat.state.ready)
                tracked.ready = settled and not tracked.fresh
            else:
                tracked.age_s += elapsed_s
            self._take_heartbeat(instance.id, tracked, beat)
            self._note_drain(tracked, instance.id in reading.drain_requests, elapsed_s)
            unknown = known is not None and instance.id not in known and instance.token not in tokens
            if unknown or tracked.stray_s is not None:
                self._note_stray(tracked, instance, unknown, elapsed_s)
            stage = self._find_stage(instance.state, tracked)
            if not tracked.ready or tracked.stray_s is not None or stage is Stage.DRAINED:
                self._report_boot(tracked, stage, instance.ended)
            if stage is not Stage.GONE:
                workers[instance.pool].append(self._worker(instance.id, stage, tracked, instance.price))
            elif beat is not None or instance.id in reading.drain_requests:
                self.forgettable.append(instance.id)

    def _track_by_hand(self, reading: Reading, elapsed_s: float, workers: Mapping[str, list[Worker]]) -> None:
        """Add workers without an instance, from their first new heartbeat on: an old one may be from a dead worker."""
        for id_ in reading.heard.keys() - reading.listed.keys():
            beat = reading.heard[id_]
            tracked = self._tracked.setdefault(id_, _Tracked(beat.pool, 0.0, fresh=False))
            self._take_heartbeat(id_, tracked, beat)
            self._note_drain(tracked, id_ in reading.drain_requests, elapsed_s)
            stage = self._find_stage(InstanceState.RUNNING, tracked)
            if tracked.silent_s >= self._policy.lost_after_s:
                self.forgettable.append(id_)
            elif self._liveness.moved(id_) and beat.pool in self._configured:
                workers[beat.pool].append(self._worker(id_, stage, tracked, ours=False))

    def _take_heartbeat(self, id_: str, tracked: _Tracked, beat: Heartbeat | None) -> None:
        before = tracked.beat
        tracked.silent_s = self._liveness.silent_s(id_)
        if beat is None or (before is not None and beat.seq == before.seq):
            return
        tracked.beat = beat
        if before is not None and beat.seq < before.seq and not beat.state.ready:
            tracked.age_s, tracked.ready, tracked.failed = 0.0, False, False  # its process was restarted: another boot
        handled, earlier = beat.images_done + beat.images_failed, 0
        if before is not None:
            earlier = before.images_done + before.images_failed
            if handled == earlier and beat.busy_seconds == before.busy_seconds:
                return  # most of a large fleet
        if before is None and not tracked.fresh:
            tracked.sampled = (handled, beat.busy_seconds)
        elif pool := self._pools.get(tracked.pool):
            pool.handled += max(0, handled - earlier)
            pool.failed += max(0, beat.images_failed - (before.images_failed if before else 0))
        images, busy = handled - tracked.sampled[0], beat.busy_seconds - tracked.sampled[1]
        if images > 0 and busy >= _SAMPLE_S:
            self._pools.setdefault(tracked.pool, _Pool()).throughputs.append(images / busy)
        elif images >= 0 and busy >= 0:
            return
        tracked.sampled = (handled, beat.busy_seconds)

    def _note_stray(self, tracked: _Tracked, instance: Instance, unknown: bool, elapsed_s: float) -> None:
        """Count how long an instance has been a stray. It is ours again once it sends a heartbeat while we watch."""
        if not unknown or (tracked.stray_s is not None and tracked.beat and not tracked.silent_s):
            tracked.stray_s = None
        elif instance.state is not InstanceState.GONE:
            tracked.stray_s = 0.0 if tracked.stray_s is None else tracked.stray_s + elapsed_s
            self.strays.add(instance.id)

    @staticmethod
    def _note_drain(tracked: _Tracked, requested: bool, elapsed_s: float) -> None:
        beat = tracked.beat
        if tracked.draining_s is not None:
            tracked.draining_s += elapsed_s
        elif requested or (beat and (beat.leaving or (not beat.state.ready and beat.state is WorkerState.DRAINING))):
            tracked.draining_s = 0.0

    def _find_stage(self, state: InstanceState, tracked: _Tracked) -> Stage:
        if state in _ENDING:
            return _ENDING[state]
        beat = tracked.beat
        if beat and not beat.state.ready and beat.state is WorkerState.DRAINED:
            return Stage.DRAINED
        if tracked.ready and tracked.silent_s >= self._policy.lost_after_s:
            return Stage.LOST
        if tracked.stray_s is not None and (beat is None or tracked.silent_s >= self._policy.lost_after_s):
            return Stage.ORPHAN
        if tracked.draining_s is not None:
            return Stage.INTERRUPTED if beat and beat.leaving else Stage.DRAINING
        if beat and beat.state.ready:
            return Stage.BUSY if beat.held or beat.state is WorkerState.BUSY else Stage.IDLE
        if tracked.age_s >= self._policy.boot_deadline_s:
            return Stage.BOOT_FAILED
        if beat and beat.state is WorkerState.WARMING:
            return Stage.WARMING
        return Stage.PENDING if state is InstanceState.PENDING and beat is None else Stage.BOOTING

    def _report_boot(self, tracked: _Tracked, stage: Stage, ended: str) -> None:
        """Report, once each, that a worker became ready, that its boot failed, or that it broke at its first work."""
        beat = tracked.beat
        if not tracked.ready and beat and beat.state.ready:
            tracked.ready = True
            self._report(tracked.pool, PoolDelta(boots=(beat.boot.ready if beat.boot else tracked.age_s,)))
        asked = tracked.draining_s is not None or (beat and beat.state is WorkerState.DRAINED)
        if stage is Stage.ORPHAN:
            tracked.failed = True  # not a launch of ours: its end teaches nothing
        if stage in (Stage.GONE, Stage.BOOT_FAILED) and not (tracked.ready or tracked.failed or asked):
            tracked.failed = True
            self._report(tracked.pool, PoolDelta(failures=1, notice=(beat.notice if beat else "") or ended))
        if beat and beat.ended_by and not (tracked.failed or beat.images_done or beat.images_failed):
            tracked.failed = True
            self._report(tracked.pool, PoolDelta(broken=1, notice=beat.ended_by))

    @staticmethod
    def _worker(id_: str, stage: Stage, tracked: _Tracked, price: float = 0.0, *, ours: bool = True) -> Worker:
        beat, stage_s, held = tracked.beat, 0.0, 0
        if beat:
            stage_s, held = max(0.0, beat.at - beat.state_since) + tracked.silent_s, beat.held
        if stage.leaving:
            stage_s = tracked.draining_s or 0.0
        elif tracked.stray_s is not None and stage is Stage.ORPHAN:
            stage_s = tracked.stray_s
        return Worker(id_, stage, tracked.age_s, stage_s, held, ours, price)

    # --- pools --------------------------------------------------------------------------------

    def _view(self, name: str, workers: list[Worker], depth: Depth | str) -> PoolView:
        pool = self._pools.setdefault(name, _Pool())
        delta = replace(pool.delta, throughputs=tuple(pool.throughputs), boots=tuple(pool.boots))
        pool.delta, pool.throughputs, pool.boots = PoolDelta(), [], []
        if isinstance(depth, str):
            return PoolView(name, pool.depth, tuple(workers), delta, unread=depth)
        pool.depth = depth
        total = depth.outstanding + depth.dead + pool.handled
        arrived = 0 if pool.total is None else total - pool.total
        handled = pool.handled - pool.reported
        failed, pool.failed = pool.failed, 0
        pool.total, pool.reported = total, pool.handled
        delta = replace(delta, arrived=arrived, handled=handled, failed=failed)
        return PoolView(name, depth, tuple(workers), delta)

    def _report(self, name: str, more: PoolDelta) -> None:
        """Add changes to the next observation of a pool."""
        pool = self._pools.setdefault(name, _Pool())
        delta = pool.delta
        pool.throughputs += more.throughputs
        pool.boots += more.boots
        pool.delta = PoolDelta(
            failures=delta.failures + more.failures,
            broken=delta.broken + more.broken,
            notice=more.notice or delta.notice,
            refused=more.refused or delta.refused,
            lasting=more.lasting or delta.lasting,
        )
