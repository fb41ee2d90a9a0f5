"""The web tier's view of workers, collector and controller: their heartbeats, and how long each has been silent.

`FleetView` reads the roster at most once a second when somebody asks, and every few seconds besides (`start`). So the
first answer is right about silence, too. `core.fleet.liveness` judges who is alive.

The web processes of a host share what they read, and how long everything has been silent: whichever finds it too old
reads the roster for all. So several processes send no more requests to the store than one, and a new process knows what
a killed one knew.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from core.errors import Unavailable
from core.fleet.liveness import Attention, Liveness
from core.fleet.roster import Heartbeat, Role, RoleBeat, Roster, WorkerState
from core.telemetry import logger
from web_tier.server.host_memory import HostMemory, Record

_FRESH_S = 1.0
_POLL_S = 5.0
_PATIENCE_S = 1.0
"""How long to wait for another process's reading before using the last one."""
_BOOTING = (WorkerState.STARTING, WorkerState.WARMING)
_FORGET_DRAINED = 4
"""A drained worker's record is removed after this multiple of `lost_after_s`, unless a controller was faster."""
_FORGET_LOST_S = 600.0
"""The record of a lost worker, which may only be slow, is shown for this long."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker that has not drained and has been silent for `silent_s`."""

    beat: Heartbeat
    silent_s: float


@dataclass(frozen=True, slots=True)
class RoleView:
    """The collector or the controller, and how long it has been silent."""

    beat: RoleBeat
    silent_s: float


@dataclass(frozen=True, slots=True)
class _Snapshot:
    live: list[Heartbeat]
    lost: list[Lost]
    roles: list[RoleView]
    unmoved_s: dict[str, float]


@dataclass(slots=True)
class _State:
    """What the processes of a host know together. Times are of the monotonic clock, which they share."""

    lives: Liveness = field(default_factory=Liveness)
    progress: Liveness = field(default_factory=Liveness)
    roles: Liveness = field(default_factory=Liveness)
    looked_at: float | None = None
    read_at: float = float("-inf")
    seen: _Snapshot = field(default_factory=lambda: _Snapshot([], [], [], {}))


class FleetView:
    """The fleet by its heartbeats. Safe for several threads, and processes with the same `record`.

    `clock` is monotonic, in seconds.
    """

    def __init__(
        self,
        roster: Roster,
        *,
        lost_after_s: float,
        clock: Callable[[], float] = time.monotonic,
        record: Record[_State] | None = None,
    ) -> None:
        self._roster = roster
        self._lost_after_s = lost_after_s
        self._clock = clock
        self._every_s = min(_POLL_S, lost_after_s / 3)
        self._record = record or Record(HostMemory())

    def workers(self) -> list[Heartbeat]:
        """Return the live workers. Raises Unavailable."""
        return self._snapshot().live

    def lost(self) -> list[Lost]:
        """Return the workers that fell silent in the last minutes and have not drained. Raises Unavailable."""
        return self._snapshot().lost

    def roles(self) -> list[RoleView]:
        """Return the collector and the controller, if they ever ran. Raises Unavailable."""
        return self._snapshot().roles

    def unmoved_s(self, worker_id: str) -> float:
        """Return for how long a live worker has held images and finished none. Raises Unavailable."""
        return self._snapshot().unmoved_s.get(worker_id, 0.0)

    def workers_of(self, pool: str) -> tuple[int, int]:
        """Return how many workers of the pool are ready and how many boot; (0, 0) if the store does not answer."""
        try:
            states = [worker.state for worker in self.workers() if worker.pool == pool]
        except Unavailable:
            return 0, 0
        return sum(state.ready for state in states), sum(state in _BOOTING for state in states)

    def start(self, stopping: Callable[[], bool]) -> threading.Thread:
        """Start a thread that reads the roster every few seconds, until `stopping` returns true."""

        def run() -> None:
            pause = threading.Event()
            while not stopping():
                try:
                    self._snapshot(self._every_s)
                except Unavailable as error:  # the next caller gets the error
                    logger().debug("the roster could not be read", reason=str(error))
                pause.wait(self._every_s)

        thread = threading.Thread(target=run, name="fleet", daemon=True)
        thread.start()
        return thread

    def _snapshot(self, age_s: float = _FRESH_S) -> _Snapshot:
        """Return a snapshot that is younger than `age_s`. It may be older if another process hangs while it reads."""
        record = self._record
        if not record.lock.acquire(_PATIENCE_S):
            known = record.known
            if known is not None and self._clock() - known.read_at < 2 * self._every_s:
                return known.seen
            record.lock.acquire()
        try:
            state = record.load() or _State()
            now = self._clock()
            if now - state.read_at >= age_s:
                state.seen = self._read(state)
                state.read_at = now
                record.store(state)
            return state.seen
        finally:
            record.lock.release()

    def _read(self, state: _State) -> _Snapshot:
        beats, roles = self._roster.workers(), self._roster.roles()
        attention = Attention(self._clock, 2 * self._every_s, state.looked_at)
        elapsed, state.looked_at = attention.elapsed(), attention.at
        state.lives.look({beat.worker_id: beat.seq for beat in beats}, elapsed)
        state.roles.look({role.role: (role.id, role.seq) for role in roles}, elapsed)
        marks = {beat.worker_id: (beat.images_done + beat.images_failed, bool(beat.held)) for beat in beats}
        state.progress.look(marks, elapsed)
        silent = {beat.worker_id: state.lives.silent_s(beat.worker_id) for beat in beats}
        live = [beat for beat in beats if silent[beat.worker_id] < self._lost_after_s]
        lost = [
            Lost(beat, silent[beat.worker_id])
            for beat in beats
            if silent[beat.worker_id] >= self._lost_after_s and beat.state is not WorkerState.DRAINED
        ]
        views = [RoleView(role, state.roles.silent_s(role.role)) for role in roles]
        if not self._controller_lives(views):
            self._forget(beats, silent)
        unmoved = {beat.worker_id: state.progress.silent_s(beat.worker_id) for beat in live if beat.held}
        return _Snapshot(live, lost, views, unmoved)

    def _controller_lives(self, roles: list[RoleView]) -> bool:
        """Return whether a controller removes the records of dead workers: it knows their instances, too."""
        name: Role = "controller"
        return any(
            view.beat.role == name and not view.beat.ended and view.silent_s < _FORGET_LOST_S / 2 for view in roles
        )

    def _forget(self, beats: list[Heartbeat], silent: dict[str, float]) -> None:
        after = {True: _FORGET_DRAINED * self._lost_after_s, False: _FORGET_LOST_S}
        old = {
            beat.worker_id: beat.seq
            for beat in beats
            if silent[beat.worker_id] >= after[beat.state is WorkerState.DRAINED]
        }
        if old:
            for id_ in self._roster.forget_silent(old):
                logger().info("removed the record of a silent worker", worker=id_)
