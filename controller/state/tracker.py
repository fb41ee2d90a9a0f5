"""Turns readings of the fleet, the roster and the queues into observations. No I/O; keeps what it saw last.

`core.fleet.liveness` tells who is alive, over good readings only: a controller that could not read blames nobody.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

from controller.state.ledger import Intent
from controller.state.model import News, Observation, Policy, PoolView, Stage, Worker
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
    """One look at everything. `depths` holds a clause that says why where a queue could not be read."""

    at: float
    """Wall clock, only to tell the age of an instance that was launched before our time."""
    instances: Sequence[Instance]
    heartbeats: Sequence[Heartbeat]
    drain_requests: Collection[str]
    depths: Mapping[str, Depth | str]
    paused: bool = False
    offerings: Mapping[str, Sequence[Offering]] = field(default_factory=dict)
    """What may be launched now, by pool."""
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
class _Sight:
    """What is known of one worker; seconds are on our clock."""

    pool: str
    age_s: float
    """Since its launch, or since its process was started again."""
    fresh: bool
    """Launched under our eyes: all that it did, it did on our watch."""
    beat: Heartbeat | None = None
    silent_s: float = 0.0
    asked_s: float | None = None
    """Since it was asked to drain, or began to on its own."""
    stray_s: float | None = None
    """Since it was first found to be unknown to the ledger; None where it is known."""
    ready: bool = False
    failed: bool = False
    sampled: tuple[int, float] = (0, 0.0)
    """Images handled and busy seconds at the last sample of throughput."""


@dataclass(slots=True)
class _Pool:
    handled: int = 0
    """Images handled by its workers, as far as it was seen."""
    failed: int = 0
    """How many of them failed since the last observation."""
    reported: int = 0
    """How many of them an observation has told."""
    total: int | None = None
    """Outstanding, dead and handled together: it grows by what arrives."""
    depth: Depth = _NO_DEPTH
    throughputs: list[float] = field(default_factory=list)
    boots: list[float] = field(default_factory=list)
    news: News = field(default_factory=News)
    """All but those two, which every worker may add to."""


class Watch:
    """One per term of office: a controller that takes over starts a new one."""

    def __init__(self, pools: Collection[str], policy: Policy) -> None:
        self._policy = policy
        self._configured = frozenset(pools)
        self._sights: dict[str, _Sight] = {}
        self._liveness = Liveness()
        self._pools: dict[str, _Pool] = {}
        self._last = tuple(PoolView(pool, _NO_DEPTH) for pool in pools)
        self._cap: int | None = None
        self._paused = False
        self.forgettable: list[str] = []
        """Workers that are gone and still in the roster."""
        self.strays: set[str] = set()
        """Instances that neither the ledger knows nor a heartbeat vouches for: they are not to be made known."""

    def observe(
        self,
        reading: Reading,
        intents: Sequence[Intent],
        elapsed_s: float,
        known: Collection[str] | None = None,
        unanswered: Collection[str] = (),
    ) -> Observation:
        """`elapsed_s` runs from the last good reading. A queue that could not be read leaves its pool `unread`.

        `known` are the instances that are in the ledger; None for all of them. `unanswered` are the tokens of launches
        that the fleet does not answer, again and again.
        """
        names = self._configured | {instance.pool for instance in reading.instances}
        for name in names:
            self._pools.setdefault(name, _Pool())
        workers: dict[str, list[Worker]] = {name: [] for name in names}
        beats = {id_: beat.seq for id_, beat in reading.heard.items()}
        self._liveness.look({**dict.fromkeys(reading.listed), **beats}, elapsed_s)
        self._ours(reading, intents, elapsed_s, known, workers)
        self._by_hand(reading, elapsed_s, workers)
        for intent in intents:
            stage = Stage.UNANSWERED if intent.token in unanswered else Stage.REQUESTED
            for number in range(intent.unseen(reading.instances)):
                asked = Worker(f"{intent.token}/{number}", stage, price=intent.offering.price)
                workers.setdefault(intent.pool, []).append(asked)
        for id_ in self._sights.keys() - reading.listed.keys() - reading.heard.keys():
            del self._sights[id_]
        self._last = tuple(
            replace(
                self._view(name, workers[name], reading.depths.get(name, _NO_DEPTH)),
                offerings=tuple(reading.offerings.get(name, (PROCESS,))),
            )
            for name in sorted(workers)
        )
        self._paused, self._cap = reading.paused, reading.cap
        return Observation(elapsed_s, self._last, self._paused, self._cap)

    def blind(self, reason: str) -> Observation:
        """What was seen last, marked as unread: the fleet or the roster did not answer. No time passes."""
        views = tuple(replace(view, unread=reason, news=News()) for view in self._last)
        return Observation(0.0, views, self._paused, self._cap)

    def refused(self, pool: str, reason: str, *, lasting: bool = False) -> None:
        """A launch fell short; where that is `lasting`, somebody must mend what `reason` names."""
        self._tell(pool, News(failures=1, refused=reason, lasting=lasting))

    # --- workers ------------------------------------------------------------------------------

    def _ours(
        self,
        reading: Reading,
        intents: Sequence[Intent],
        elapsed_s: float,
        known: Collection[str] | None,
        workers: Mapping[str, list[Worker]],
    ) -> None:
        """Adds those that are not gone to their pool's `workers`."""
        tokens = {intent.token for intent in intents}
        self.forgettable, self.strays = [], set()
        for instance in reading.listed.values():
            sight, beat = self._sights.get(instance.id), reading.heard.get(instance.id)
            if sight is None:
                age = max(0.0, reading.at - instance.launched_at)
                sight = self._sights[instance.id] = _Sight(instance.pool, age, fresh=instance.token in tokens)
                settled = instance.state is InstanceState.GONE or (beat is not None and beat.state.ready)
                sight.ready = settled and not sight.fresh
            else:
                sight.age_s += elapsed_s
            self._hear(instance.id, sight, beat)
            self._asked(sight, instance.id in reading.drain_requests, elapsed_s)
            unknown = known is not None and instance.id not in known and instance.token not in tokens
            if unknown or sight.stray_s is not None:
                self._vouch(sight, instance, unknown, elapsed_s)
            stage = self._stage(instance.state, sight)
            if not sight.ready or sight.stray_s is not None or stage is Stage.DRAINED:
                self._judge(sight, stage, instance.ended)
            if stage is not Stage.GONE:
                workers[instance.pool].append(self._worker(instance.id, stage, sight, instance.price))
            elif beat is not None or instance.id in reading.drain_requests:
                self.forgettable.append(instance.id)

    def _by_hand(self, reading: Reading, elapsed_s: float, workers: Mapping[str, list[Worker]]) -> None:
        """Heartbeats without an instance. One counts from its first change on: it may be left from a dead worker."""
        for id_ in reading.heard.keys() - reading.listed.keys():
            beat = reading.heard[id_]
            sight = self._sights.setdefault(id_, _Sight(beat.pool, 0.0, fresh=False))
            self._hear(id_, sight, beat)
            self._asked(sight, id_ in reading.drain_requests, elapsed_s)
            stage = self._stage(InstanceState.RUNNING, sight)
            if sight.silent_s >= self._policy.lost_after_s:
                self.forgettable.append(id_)
            elif self._liveness.moved(id_) and beat.pool in self._configured:
                workers[beat.pool].append(self._worker(id_, stage, sight, ours=False))

    def _hear(self, id_: str, sight: _Sight, beat: Heartbeat | None) -> None:
        before = sight.beat
        sight.silent_s = self._liveness.silent_s(id_)
        if beat is None or (before is not None and beat.seq == before.seq):
            return
        sight.beat = beat
        if before is not None and beat.seq < before.seq and not beat.state.ready:
            sight.age_s, sight.ready, sight.failed = 0.0, False, False  # its process was started again: another boot
        handled, earlier = beat.images_done + beat.images_failed, 0
        if before is not None:
            earlier = before.images_done + before.images_failed
            if handled == earlier and beat.busy_seconds == before.busy_seconds:
                return  # most of a large fleet
        if before is None and not sight.fresh:
            sight.sampled = (handled, beat.busy_seconds)
        elif pool := self._pools.get(sight.pool):
            pool.handled += max(0, handled - earlier)
            pool.failed += max(0, beat.images_failed - (before.images_failed if before else 0))
        images, busy = handled - sight.sampled[0], beat.busy_seconds - sight.sampled[1]
        if images > 0 and busy >= _SAMPLE_S:
            self._pools.setdefault(sight.pool, _Pool()).throughputs.append(images / busy)
        elif images >= 0 and busy >= 0:
            return
        sight.sampled = (handled, beat.busy_seconds)

    def _vouch(self, sight: _Sight, instance: Instance, unknown: bool, elapsed_s: float) -> None:
        """An instance that the ledger does not know is one of ours again once it speaks while we watch."""
        if not unknown or (sight.stray_s is not None and sight.beat and not sight.silent_s):
            sight.stray_s = None
        elif instance.state is not InstanceState.GONE:
            sight.stray_s = 0.0 if sight.stray_s is None else sight.stray_s + elapsed_s
            self.strays.add(instance.id)

    @staticmethod
    def _asked(sight: _Sight, wished: bool, elapsed_s: float) -> None:
        beat = sight.beat
        if sight.asked_s is not None:
            sight.asked_s += elapsed_s
        elif wished or (beat and (beat.leaving or (not beat.state.ready and beat.state is WorkerState.DRAINING))):
            sight.asked_s = 0.0

    def _stage(self, state: InstanceState, sight: _Sight) -> Stage:
        if state in _ENDING:
            return _ENDING[state]
        beat = sight.beat
        if beat and not beat.state.ready and beat.state is WorkerState.DRAINED:
            return Stage.DRAINED
        if sight.ready and sight.silent_s >= self._policy.lost_after_s:
            return Stage.LOST
        if sight.stray_s is not None and (beat is None or sight.silent_s >= self._policy.lost_after_s):
            return Stage.ORPHAN
        if sight.asked_s is not None:
            return Stage.INTERRUPTED if beat and beat.leaving else Stage.DRAINING
        if beat and beat.state.ready:
            return Stage.BUSY if beat.held or beat.state is WorkerState.BUSY else Stage.IDLE
        if sight.age_s >= self._policy.boot_deadline_s:
            return Stage.BOOT_FAILED
        if beat and beat.state is WorkerState.WARMING:
            return Stage.WARMING
        return Stage.PENDING if state is InstanceState.PENDING and beat is None else Stage.BOOTING

    def _judge(self, sight: _Sight, stage: Stage, ended: str) -> None:
        """Tell, once each, that a worker became ready, failed to, or broke at once."""
        beat = sight.beat
        if not sight.ready and beat and beat.state.ready:
            sight.ready = True
            self._tell(sight.pool, News(boots=(beat.boot.ready if beat.boot else sight.age_s,)))
        asked = sight.asked_s is not None or (beat and beat.state is WorkerState.DRAINED)
        if stage is Stage.ORPHAN:
            sight.failed = True  # no launch of ours: its end teaches nothing
        if stage in (Stage.GONE, Stage.BOOT_FAILED) and not (sight.ready or sight.failed or asked):
            sight.failed = True
            self._tell(sight.pool, News(failures=1, notice=(beat.notice if beat else "") or ended))
        if beat and beat.ended_by and not (sight.failed or beat.images_done or beat.images_failed):
            sight.failed = True
            self._tell(sight.pool, News(broken=1, notice=beat.ended_by))

    @staticmethod
    def _worker(id_: str, stage: Stage, sight: _Sight, price: float = 0.0, *, ours: bool = True) -> Worker:
        beat, stage_s, held = sight.beat, 0.0, 0
        if beat:
            stage_s, held = max(0.0, beat.at - beat.state_since) + sight.silent_s, beat.held
        if stage.leaving:
            stage_s = sight.asked_s or 0.0
        elif sight.stray_s is not None and stage is Stage.ORPHAN:
            stage_s = sight.stray_s
        return Worker(id_, stage, sight.age_s, stage_s, held, ours, price)

    # --- pools --------------------------------------------------------------------------------

    def _view(self, name: str, workers: list[Worker], depth: Depth | str) -> PoolView:
        pool = self._pools.setdefault(name, _Pool())
        news = replace(pool.news, throughputs=tuple(pool.throughputs), boots=tuple(pool.boots))
        pool.news, pool.throughputs, pool.boots = News(), [], []
        if isinstance(depth, str):
            return PoolView(name, pool.depth, tuple(workers), news, unread=depth)
        pool.depth = depth
        total = depth.outstanding + depth.dead + pool.handled
        arrived = 0 if pool.total is None else total - pool.total
        handled = pool.handled - pool.reported
        failed, pool.failed = pool.failed, 0
        pool.total, pool.reported = total, pool.handled
        news = replace(news, arrived=arrived, handled=handled, failed=failed)
        return PoolView(name, depth, tuple(workers), news)

    def _tell(self, name: str, more: News) -> None:
        pool = self._pools.setdefault(name, _Pool())
        news = pool.news
        pool.throughputs += more.throughputs
        pool.boots += more.boots
        pool.news = News(
            failures=news.failures + more.failures,
            broken=news.broken + more.broken,
            notice=more.notice or news.notice,
            refused=more.refused or news.refused,
            lasting=more.lasting or news.lasting,
        )
