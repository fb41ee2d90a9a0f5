"""Writes a worker's heartbeats into the roster: its state, what it did, and what is wrong."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from app_tier.pipeline.pipeline import Pipeline
from app_tier.taggers import Tagger
from core import telemetry
from core.errors import Unavailable
from core.fleet.roster import BootTimings, Heartbeat, Roster, WorkerSizes, WorkerState

_RATE_WINDOW_S = 10.0


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a worker is. `launched_at` is when its process was started, Unix seconds.

    `managed` workers were launched by a fleet. The others were started by hand: no controller ends them, and they do
    not end because no controller is there.
    """

    worker_id: str
    pool: str
    launched_at: float
    managed: bool


@dataclass(slots=True)
class WorkerStatus:
    """A worker's report about itself, beside its pipeline's counts. Its owner changes it."""

    state_since: float
    state: WorkerState = WorkerState.STARTING
    tagger: Tagger | None = None
    pipeline: Pipeline | None = None
    boot: BootTimings | None = None
    notice: str = ""
    """The present problem, for people."""
    ended_by: str = ""
    """The error that ended it."""
    leaving: str = ""
    """Why its machine will be taken away."""
    at_risk: str = ""
    """Why its machine may be taken away."""

    @property
    def version(self) -> str:
        """The tagger's version; empty while there is none."""
        return self.tagger.version if self.tagger else ""


class HeartbeatWriter:
    """Writes `status`. Safe for several threads. `clock` gives Unix seconds."""

    def __init__(self, identity: Identity, roster: Roster, clock: Callable[[], float]) -> None:
        self.status = WorkerStatus(clock())
        self._identity = identity
        self._roster = roster
        self._clock = clock
        self._rate = _RateMeter()
        self._seq = 0
        self._written_at = 0.0  # monotonic
        self._lock = threading.Lock()

    def enter(self, state: WorkerState) -> None:
        """Change the state, and write a heartbeat."""
        if state is not self.status.state:
            self.status.state, self.status.state_since = state, self._clock()
        self.write()

    def write_if_due(self, interval_s: float) -> None:
        """Write a heartbeat if the last one is older than `interval_s`."""
        if time.monotonic() - self._written_at >= interval_s:
            self.write()

    def write(self) -> None:
        """Write a heartbeat. If the store does not answer, the worker goes on; a missing heartbeat shows that."""
        with self._lock:
            self._seq += 1
            self._written_at = time.monotonic()
            try:
                self._roster.beat(self._heartbeat())
            except Unavailable as error:
                telemetry.logger().warning("a heartbeat is not written", why=str(error))

    def _heartbeat(self) -> Heartbeat:
        status, pipeline = self.status, self.status.pipeline
        return Heartbeat(
            worker_id=self._identity.worker_id,
            pool=self._identity.pool,
            tagger=status.version,
            state=status.state,
            seq=self._seq,
            at=self._clock(),
            state_since=status.state_since,
            started_at=self._identity.launched_at,
            held=len(pipeline.in_flight) if pipeline else 0,
            images_done=pipeline.images_done if pipeline else 0,
            images_failed=pipeline.images_failed if pipeline else 0,
            busy_seconds=round(pipeline.in_flight.busy_seconds(), 3) if pipeline else 0.0,
            rate=self._rate.measure(pipeline) if pipeline else 0.0,
            boot=status.boot,
            engine=status.tagger.engine_name if status.tagger else "",
            rss_bytes=_resident_bytes(),
            notice=(pipeline.notice if pipeline else "") or status.notice,
            ended_by=status.ended_by,
            leaving=status.leaving,
            at_risk=status.at_risk,
            managed=self._identity.managed,
            sizes=_sizes(pipeline) if pipeline else None,
            log_lines_dropped=telemetry.lines_dropped(),
        )


class _RateMeter:
    """Measures images per busy second over the last window."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, float, int]] = deque([(0.0, 0.0, 0)])  # at, busy seconds, images

    def measure(self, pipeline: Pipeline) -> float:
        now = time.monotonic()
        images = pipeline.images_done + pipeline.images_failed
        self._samples.append((now, pipeline.in_flight.busy_seconds(), images))
        while len(self._samples) > 2 and now - self._samples[0][0] > _RATE_WINDOW_S:
            self._samples.popleft()
        (_, busy_then, done_then), (_, busy, done) = self._samples[0], self._samples[-1]
        return round((done - done_then) / (busy - busy_then), 2) if busy > busy_then else 0.0


def _sizes(pipeline: Pipeline) -> WorkerSizes:
    sizes = pipeline.sizes
    return WorkerSizes(
        batch=sizes.batch,
        prefetch=sizes.prefetch,
        receive=pipeline.receive_threads,
        fetch=sizes.fetch_threads,
        decode=sizes.decode_threads,
        finish=sizes.finish_threads,
    )


def _resident_bytes() -> int:
    """Return this process's resident memory. 0 on systems without /proc."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:  # noqa: PTH123  # read each second
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0
