"""A worker's life: starting → warming → idle ⇄ busy → draining → drained, told to the roster as it goes."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial

from app_tier.pipeline.pipeline import Pipeline
from app_tier.taggers import Tagger, TaggerHandle
from app_tier.worker import selection
from app_tier.worker.hot_reload import HotReload
from app_tier.worker.interruption import Watch
from config.settings import PoolSettings, Settings
from core import telemetry
from core.errors import Unavailable, sentence
from core.fleet.roster import BootTimings, Heartbeat, PoolStatus, WorkerState
from core.storage.ports import Etag, Machine, ObjectStore
from core.wiring import Backend

_RATE_WINDOW_S = 10.0
_DRAIN_POLL_S = 0.2
EXIT_HUNG = 70


class Hung(Exception):
    """A decode takes longer than it may. Its thread can't be stopped, only the process can."""


@dataclass(frozen=True, slots=True)
class Identity:
    """`launched_at` is when the process was started, Unix seconds; `managed` workers were launched by a fleet.

    The others were started by hand: they stay where no controller looks after them, and none ends them.
    """

    worker_id: str
    pool: str
    launched_at: float
    managed: bool


class Worker:
    """Serves one pool until it is asked to drain, its machine is taken away, it is abandoned, or it fails.

    `choose` finds the pool's tagger; `machine` is None where nobody rents the machine out.
    """

    def __init__(
        self,
        identity: Identity,
        settings: Settings,
        backend: Backend,
        clock: Callable[[], float],
        choose: Callable[[PoolSettings, Settings, ObjectStore], TaggerHandle] = selection.choose,
        machine: Machine | None = None,
    ) -> None:
        self._identity = identity
        self._settings = settings
        self._backend = backend
        self._clock = clock
        self._choose = choose
        self._machine = machine
        self._ended_by = ""
        self._leaving = self._at_risk = ""
        self._telling = threading.Lock()
        self._seq = 0
        self._told_at = 0.0  # monotonic
        self._notice = ""
        self._state = WorkerState.STARTING
        self._state_since = clock()
        self._tagger: Tagger | None = None
        self._succession: HotReload | None = None
        self._pipeline: Pipeline | None = None
        self._boot: BootTimings | None = None
        self._samples: deque[tuple[float, float, int]] = deque([(0.0, 0.0, 0)])  # at, busy seconds, images
        self._controller: tuple[Etag | None, float] = (None, time.monotonic())
        self.asked_to_drain = threading.Event()

    def run(self) -> None:
        """Boot, serve, drain. Returns when drained; raises what made it fail, TagfleetError or not."""
        process_up = self._clock()
        self._enter(WorkerState.STARTING)
        with Watch(self._machine, self._leave, self._warn) if self._machine else nullcontext():
            try:
                self._warm(process_up)
            except Exception as error:  # the controller shows it beside the failed boot; what ends us may be anything
                self._notice = sentence(error)
                self._beat()
                raise
            self._serve()

    def _serve(self) -> None:
        pipeline = self._pipeline = self._start()
        self._enter(WorkerState.IDLE)
        telemetry.logger().info("worker ready", after_s=self._boot and self._boot.ready, tagger=self._version())
        try:
            while not self._must_stop(pipeline):
                self._enter(WorkerState.BUSY if len(pipeline.held) else WorkerState.IDLE)
                self._renew(pipeline)
                self.asked_to_drain.wait(self._settings.worker.heartbeat_s)
            self._drain(pipeline)
        except Hung:
            pipeline.give_up()
            raise
        if pipeline.failure is not None:
            raise pipeline.failure
        pipeline.close()

    # --- boot ---------------------------------------------------------------------------------

    def _warm(self, process_up: float) -> None:
        launched = self._identity.launched_at
        pool = self._settings.pools[self._identity.pool]
        imported = self._clock()
        self._enter(WorkerState.WARMING)
        choice = self._choose(pool, self._settings, self._backend.store)
        if choice.notice:
            telemetry.logger().warning(choice.notice)
        weighed = self._clock()
        self._tagger = choice.load()
        again = partial(self._choose, pool, self._settings, self._backend.store)
        self._succession = HotReload(choice, again, time.monotonic, self._settings.worker.reload_s)
        inferred = self._clock()
        self._boot = BootTimings(
            process=round(process_up - launched, 3),
            imports=round(imported - launched, 3),
            weights=round(weighed - launched, 3),
            first_inference=round(inferred - launched, 3),
            ready=round(self._clock() - launched, 3),
        )

    def _start(self) -> Pipeline:
        assert self._tagger is not None  # noqa: S101  # warmed
        pipeline = Pipeline(
            tagger=self._tagger,
            jobs=self._backend.jobs(self._identity.pool),
            results=self._backend.results,
            store=self._backend.store,
            originals=self._backend.originals,
            settings=self._settings.worker,
            visibility_timeout_s=self._settings.queue.visibility_timeout_s,
            worker_id=self._identity.worker_id,
            clock=self._clock,
            max_receives=self._settings.queue.max_receives,
            notes=self._settings.home / "in-hand",
        )
        pipeline.start()
        return pipeline

    # --- service ------------------------------------------------------------------------------

    def _renew(self, pipeline: Pipeline) -> None:
        """Go over to a new version of the tagger once there is one that works."""
        assert self._succession is not None  # noqa: S101  # warmed
        if (successor := self._succession.poll()) is not None:
            telemetry.logger().info("a new version serves", was=self._version(), tagger=successor.version)
            self._tagger = successor
            pipeline.succeed(successor)
            self._tell_pool(self._succession.serving.notice)

    def _tell_pool(self, notice: str) -> None:
        pool, wanted = self._identity.pool, self._settings.pools[self._identity.pool].tagger
        status = PoolStatus(
            pool=pool, wanted=wanted, serves=self._version(), state="ready", notice=notice, at=self._clock()
        )
        try:
            self._backend.roster.set_pool(status)
        except Unavailable as error:
            telemetry.logger().warning("what the pool serves was not written down", why=str(error))

    def _must_stop(self, pipeline: Pipeline) -> bool:
        if pipeline.watch():
            telemetry.logger().error("a decode hangs: this worker ends, and what it holds goes back")
            raise Hung
        if self.asked_to_drain.is_set() or pipeline.draining.is_set():
            return True
        try:
            stop = self._backend.roster.drain_requested(self._identity.worker_id) or self._abandoned(pipeline)
        except Unavailable as error:
            pipeline.trouble.stands("roster", str(error))
            return False
        pipeline.trouble.stands("roster", "")
        return stop

    def _abandoned(self, pipeline: Pipeline) -> bool:
        """An idle worker whose controller shows no life ends itself: on a rented machine, idling costs."""
        version, since = self._controller
        now = time.monotonic()
        if len(pipeline.held) or not self._identity.managed:
            self._controller = (version, now)
            return False
        if now - since < self._settings.worker.abandoned_s:
            return False
        seen = self._backend.roster.controller_version()
        self._controller = (seen, now)
        if seen != version:
            return False
        telemetry.logger().warning("no controller renews its lease: draining", after_s=round(now - since))
        return True

    def _drain(self, pipeline: Pipeline) -> None:
        pipeline.draining.set()
        self._enter(WorkerState.DRAINING)
        while pipeline.failure is None and not pipeline.drained(_DRAIN_POLL_S):
            if pipeline.watch():
                raise Hung
            if time.monotonic() - self._told_at >= self._settings.worker.heartbeat_s:
                self._beat()
        if pipeline.failure is not None:
            pipeline.give_up()
            self._ended_by = sentence(pipeline.failure)
        self._enter(WorkerState.DRAINED)
        if pipeline.failure is None:
            telemetry.logger().info("worker drained", images=pipeline.images_done, failed=pipeline.images_failed)

    def _leave(self, notice: str) -> None:
        telemetry.logger().warning("this machine is taken away: draining", why=notice)
        self._leaving = notice
        self.asked_to_drain.set()
        self._beat()  # while it warms nobody else would say so

    def _warn(self, risk: str) -> None:
        """Work on: a replacement would boot for minutes, and two minutes of notice finish everything in hand."""
        telemetry.logger().warning("this machine may be taken away", why=risk)
        self._at_risk = risk
        self._beat()

    # --- what it says of itself ---------------------------------------------------------------

    def _enter(self, state: WorkerState) -> None:
        if state is not self._state:
            self._state, self._state_since = state, self._clock()
        self._beat()

    def _beat(self) -> None:
        """One heartbeat. If the store can't take it the worker goes on: its silence says so."""
        with self._telling:
            self._seq += 1
            self._tell(self._pipeline)

    def _tell(self, pipeline: Pipeline | None) -> None:
        self._told_at = time.monotonic()
        try:
            self._backend.roster.beat(
                Heartbeat(
                    worker_id=self._identity.worker_id,
                    pool=self._identity.pool,
                    tagger=self._version(),
                    state=self._state,
                    seq=self._seq,
                    at=self._clock(),
                    state_since=self._state_since,
                    started_at=self._identity.launched_at,
                    held=len(pipeline.held) if pipeline else 0,
                    images_done=pipeline.images_done if pipeline else 0,
                    images_failed=pipeline.images_failed if pipeline else 0,
                    busy_seconds=round(pipeline.held.busy_seconds(), 3) if pipeline else 0.0,
                    rate=self._rate(pipeline) if pipeline else 0.0,
                    boot=self._boot,
                    engine=self._tagger.engine_name if self._tagger else "",
                    rss_bytes=_rss_bytes(),
                    notice=self._noticed(),
                    ended_by=self._ended_by,
                    leaving=self._leaving,
                    at_risk=self._at_risk,
                    managed=self._identity.managed,
                    log_lines_dropped=telemetry.lines_dropped(),
                )
            )
        except Unavailable as error:
            telemetry.logger().warning("heartbeat not written", why=str(error))

    def _noticed(self) -> str:
        if self._pipeline is None or self._succession is None:
            return self._notice
        return self._pipeline.trouble.notice or self._succession.notice

    def _version(self) -> str:
        return self._tagger.version if self._tagger else ""

    def _rate(self, pipeline: Pipeline) -> float:
        """Images per busy second over the last window."""
        now = time.monotonic()
        self._samples.append((now, pipeline.held.busy_seconds(), pipeline.images_done + pipeline.images_failed))
        while len(self._samples) > 2 and now - self._samples[0][0] > _RATE_WINDOW_S:
            self._samples.popleft()
        (_, busy_then, done_then), (_, busy, done) = self._samples[0], self._samples[-1]
        return round((done - done_then) / (busy - busy_then), 2) if busy > busy_then else 0.0


def _rss_bytes() -> int:
    """Resident memory of this process now; 0 where /proc is not."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  # read each second
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def process_started_at(now: float) -> float:
    """When this process was started, Unix seconds; `now` where /proc does not tell."""
    try:
        with open("/proc/self/stat", encoding="ascii") as file:  # noqa: PTH123
            ticks = int(file.read().rpartition(")")[2].split()[19])
        return now - (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, AttributeError):
        return now
