"""A worker's life: starting → warming → idle ⇄ busy → draining → drained. Each state is reported to the roster.

1. Boot: choose a tagger and load it (warming), then start the pipeline.
2. Service: every heartbeat, swap in a new version of the tagger if there is one, and check whether to stop.
3. Drain: stop receiving, finish or release what is in flight, and return.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial

from app_tier.pipeline.pipeline import Pipeline, PipelineOptions, PipelinePorts
from app_tier.taggers import TaggerHandle
from app_tier.worker import selection
from app_tier.worker.heartbeats import HeartbeatWriter, Identity
from app_tier.worker.hot_reload import HotReload
from app_tier.worker.interruption import InterruptionWatch
from config.settings import PoolSettings, Settings
from core import telemetry
from core.errors import Unavailable, describe_error
from core.fleet.roster import BootTimings, PoolStatus, Roster, WorkerState
from core.storage.ports import Etag, Machine, ObjectStore
from core.wiring import Backend

_DRAIN_POLL_S = 0.2
EXIT_HUNG = 70

Choose = Callable[[PoolSettings, Settings, ObjectStore], TaggerHandle]


class Hung(Exception):
    """A decode, or a call of the tagger, takes too long. Its thread cannot be stopped, so the process must end."""


class Worker:
    """Serves one pool until it is asked to drain, its machine is taken away, it is abandoned, or it fails.

    `choose` finds the pool's tagger. `machine` is None unless it is a cloud instance.
    """

    def __init__(
        self,
        identity: Identity,
        settings: Settings,
        backend: Backend,
        clock: Callable[[], float],
        choose: Choose = selection.choose,
        machine: Machine | None = None,
    ) -> None:
        self._identity = identity
        self._settings = settings
        self._backend = backend
        self._clock = clock
        self._choose: Callable[[], TaggerHandle] = partial(
            choose, settings.pools[identity.pool], settings, backend.store
        )
        self._machine = machine
        self._heartbeats = HeartbeatWriter(identity, backend.roster, clock)
        self._status = self._heartbeats.status
        self._controller = _ControllerWatch(backend.roster, settings.worker.abandoned_s)
        self.asked_to_drain = threading.Event()

    def run(self) -> None:
        """Boot, serve, drain. Returns when drained. Raises the error that ended the worker, of whatever type."""
        process_up = self._clock()
        self._heartbeats.enter(WorkerState.STARTING)
        with InterruptionWatch(self._machine, self._leave, self._warn) if self._machine else nullcontext():
            try:
                hot_reload = self._warm(process_up)
            except Exception as error:  # any error: the controller shows it beside the failed boot
                self._status.notice = describe_error(error)
                self._heartbeats.write()
                raise
            self._serve(hot_reload)

    # --- boot ---------------------------------------------------------------------------------

    def _warm(self, process_up: float) -> HotReload:
        """Choose and load the tagger, and measure the phases of the boot."""
        launched = self._identity.launched_at
        imported = self._clock()
        self._heartbeats.enter(WorkerState.WARMING)
        handle = self._choose()
        if handle.notice:
            telemetry.logger().warning(handle.notice)
        weights_found = self._clock()
        self._status.tagger = handle.load()
        hot_reload = HotReload(handle, self._choose, time.monotonic, self._settings.worker.reload_s)
        inferred = self._clock()
        self._status.boot = BootTimings(
            process=round(process_up - launched, 3),
            imports=round(imported - launched, 3),
            weights=round(weights_found - launched, 3),
            first_inference=round(inferred - launched, 3),
            ready=round(self._clock() - launched, 3),
        )
        return hot_reload

    def _start_pipeline(self) -> Pipeline:
        assert self._status.tagger is not None  # noqa: S101  # warmed
        backend, settings = self._backend, self._settings
        pipeline = Pipeline(
            self._status.tagger,
            PipelinePorts(backend.jobs(self._identity.pool), backend.results, backend.store, backend.originals),
            PipelineOptions(
                settings.worker,
                self._identity.worker_id,
                visibility_timeout_s=settings.queue.visibility_timeout_s,
                max_receives=settings.queue.max_receives,
                crash_folder=settings.home / "in-hand",
            ),
            self._clock,
        )
        pipeline.start()
        return pipeline

    # --- service ------------------------------------------------------------------------------

    def _serve(self, hot_reload: HotReload) -> None:
        pipeline = self._status.pipeline = self._start_pipeline()
        self._heartbeats.enter(WorkerState.IDLE)
        boot = self._status.boot
        telemetry.logger().info("worker ready", after_s=boot and boot.ready, tagger=self._status.version)
        try:
            while not self._must_stop(pipeline):
                self._reload(pipeline, hot_reload)
                self._heartbeats.enter(WorkerState.BUSY if len(pipeline.in_flight) else WorkerState.IDLE)
                self.asked_to_drain.wait(self._settings.worker.heartbeat_s)
            self._drain(pipeline)
        except Hung:
            pipeline.release_all()
            self._heartbeats.write()
            raise
        if pipeline.failure is not None:
            raise pipeline.failure
        pipeline.close()

    def _reload(self, pipeline: Pipeline, hot_reload: HotReload) -> None:
        """Swap in a new version of the tagger once one is loaded."""
        tagger = hot_reload.poll()
        if tagger is not None:
            telemetry.logger().info("a new version serves", was=self._status.version, tagger=tagger.version)
            self._status.tagger = tagger
            pipeline.set_tagger(tagger)
            self._write_pool_status(hot_reload.serving.notice)
        self._status.notice = hot_reload.notice

    def _write_pool_status(self, notice: str) -> None:
        status = PoolStatus(
            pool=self._identity.pool,
            wanted=self._settings.pools[self._identity.pool].tagger,
            serves=self._status.version,
            state="ready",
            notice=notice,
            at=self._clock(),
        )
        try:
            self._backend.roster.set_pool(status)
        except Unavailable as error:
            telemetry.logger().warning("the pool's status is not written", why=str(error))

    def _must_stop(self, pipeline: Pipeline) -> bool:
        """Return whether to drain. Raises Hung."""
        self._check_hung(pipeline)
        if self.asked_to_drain.is_set() or pipeline.draining.is_set():
            return True
        idle = not len(pipeline.in_flight) and self._identity.managed
        try:
            stop = self._backend.roster.drain_requested(self._identity.worker_id) or self._controller.is_gone(idle)
        except Unavailable as error:
            pipeline.set_problem("roster", str(error))
            return False
        pipeline.set_problem("roster", "")
        return stop

    def _check_hung(self, pipeline: Pipeline) -> None:
        """Raise Hung if this process must end."""
        what = pipeline.hangs.find()
        if what:
            self._status.ended_by = f"{what} hangs: this worker ends and releases its messages"
            telemetry.logger().error(self._status.ended_by)
            raise Hung

    # --- drain --------------------------------------------------------------------------------

    def _drain(self, pipeline: Pipeline) -> None:
        """Finish or release everything in flight. Raises Hung."""
        pipeline.draining.set()
        self._heartbeats.enter(WorkerState.DRAINING)
        while pipeline.failure is None and not pipeline.wait_until_drained(_DRAIN_POLL_S):
            self._check_hung(pipeline)
            self._heartbeats.write_if_due(self._settings.worker.heartbeat_s)
        if pipeline.failure is not None:
            pipeline.release_all()
            self._status.ended_by = describe_error(pipeline.failure)
        self._heartbeats.enter(WorkerState.DRAINED)
        if pipeline.failure is None:
            telemetry.logger().info("worker drained", images=pipeline.images_done, failed=pipeline.images_failed)

    def _leave(self, notice: str) -> None:
        """Drain, because the machine will be taken away."""
        telemetry.logger().warning("this machine is taken away: draining", why=notice)
        self._status.leaving = notice
        self.asked_to_drain.set()
        self._heartbeats.write()  # while the tagger loads, nothing else would report it

    def _warn(self, risk: str) -> None:
        """Go on: a replacement takes minutes to boot, and two minutes of notice are enough to finish everything."""
        telemetry.logger().warning("this machine may be taken away", why=risk)
        self._status.at_risk = risk
        self._heartbeats.write()


class _ControllerWatch:
    """Checks that a controller renews its lease. Without one an idle worker ends, as cloud instances cost money."""

    def __init__(self, roster: Roster, abandoned_s: float) -> None:
        self._roster = roster
        self._abandoned_s = abandoned_s
        self._version: Etag | None = None
        self._since = time.monotonic()

    def is_gone(self, idle: bool) -> bool:
        """Return whether the lease has not changed for `abandoned_s` of idle time. Raises Unavailable."""
        now, since = time.monotonic(), self._since
        if not idle:
            self._since = now
            return False
        if now - since < self._abandoned_s:
            return False
        before, self._version, self._since = self._version, self._roster.controller_version(), now
        if self._version != before:
            return False
        telemetry.logger().warning("no controller renews its lease: draining", after_s=round(now - since))
        return True


def process_started_at(now: float) -> float:
    """Return when this process was started, Unix seconds. `now` on systems without /proc."""
    try:
        with open("/proc/self/stat", encoding="ascii") as file:  # noqa: PTH123
            ticks = int(file.read().rpartition(")")[2].split()[19])
        return now - (time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, AttributeError):
        return now
