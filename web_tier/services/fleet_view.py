"""What the web tier knows of the workers, and of the collector and the controller: their signs of life.

They are read at most once a second, when somebody asks and every few seconds besides (`keep_looking`), so that whoever
asks first is told at once what has stood still for how long.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from core.errors import Unavailable
from core.fleet.liveness import Attention, Liveness
from core.fleet.roster import Heartbeat, Role, RoleBeat, Roster, WorkerState
from core.telemetry import logger

_FRESH_S = 1.0
_LOOK_S = 5.0
_BOOTING = (WorkerState.STARTING, WorkerState.WARMING)
_FORGET_DRAINED = 4
"""After so many times `lost_after_s` a drained worker's record is removed where no controller did."""
_FORGET_LOST_S = 600.0
"""The same of a lost worker, which may only be slow: it is shown until then."""


@dataclass(frozen=True, slots=True)
class Lost:
    """A worker that did not drain and whose heartbeat has stood still for `silent_s`."""

    beat: Heartbeat
    silent_s: float


@dataclass(frozen=True, slots=True)
class RoleView:
    """The collector or the controller, and how long it has given no sign of life."""

    beat: RoleBeat
    silent_s: float


@dataclass(frozen=True, slots=True)
class _Look:
    live: list[Heartbeat]
    lost: list[Lost]
    roles: list[RoleView]
    unmoved_s: dict[str, float]


class FleetView:
    """Safe for several threads. A process lives while its sign of life changes; `clock` is monotonic."""

    def __init__(self, roster: Roster, *, lost_after_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._roster = roster
        self._lost_after_s = lost_after_s
        self._clock = clock
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._every_s = min(_LOOK_S, lost_after_s / 3)
        self._attention = Attention(clock, 2 * self._every_s)
        self._lives, self._progress, self._roles = Liveness(), Liveness(), Liveness()
        self._seen = _Look([], [], [], {})

    def workers(self) -> list[Heartbeat]:
        """Those that live. Raises Unavailable."""
        return self._look().live

    def lost(self) -> list[Lost]:
        """Those that stand still and have not drained, for some minutes. Raises Unavailable."""
        return self._look().lost

    def roles(self) -> list[RoleView]:
        """Raises Unavailable."""
        return self._look().roles

    def unmoved_s(self, worker_id: str) -> float:
        """How long a live worker has held images and finished none. Raises Unavailable."""
        return self._look().unmoved_s.get(worker_id, 0.0)

    def workers_of(self, pool: str) -> tuple[int, int]:
        """How many workers of the pool are ready and how many boot; none where the store does not answer."""
        try:
            states = [worker.state for worker in self.workers() if worker.pool == pool]
        except Unavailable:
            return 0, 0
        return sum(state.ready for state in states), sum(state in _BOOTING for state in states)

    def keep_looking(self, stopping: Callable[[], bool]) -> threading.Thread:
        """Look every few seconds, in a thread of its own, until `stopping`."""

        def run() -> None:
            pause = threading.Event()
            while not stopping():
                try:
                    self._look()
                except Unavailable as error:  # whoever asks is told
                    logger().debug("the fleet could not be looked at", reason=str(error))
                pause.wait(self._every_s)

        thread = threading.Thread(target=run, name="fleet", daemon=True)
        thread.start()
        return thread

    def _look(self) -> _Look:
        with self._lock:
            now = self._clock()
            if now - self._read_at >= _FRESH_S:
                self._seen = self._read()
                self._read_at = now
            return self._seen

    def _read(self) -> _Look:
        beats, roles = self._roster.workers(), self._roster.roles()
        elapsed = self._attention.elapsed()
        self._lives.look({beat.worker_id: beat.seq for beat in beats}, elapsed)
        self._roles.look({role.role: (role.id, role.seq) for role in roles}, elapsed)
        marks = {beat.worker_id: (beat.images_done + beat.images_failed, bool(beat.held)) for beat in beats}
        self._progress.look(marks, elapsed)
        silent = {beat.worker_id: self._lives.silent_s(beat.worker_id) for beat in beats}
        live = [beat for beat in beats if silent[beat.worker_id] < self._lost_after_s]
        lost = [
            Lost(beat, silent[beat.worker_id])
            for beat in beats
            if silent[beat.worker_id] >= self._lost_after_s and beat.state is not WorkerState.DRAINED
        ]
        views = [RoleView(role, self._roles.silent_s(role.role)) for role in roles]
        if not self._controller_lives(views):
            self._forget(beats, silent)
        unmoved = {beat.worker_id: self._progress.silent_s(beat.worker_id) for beat in live if beat.held}
        return _Look(live, lost, views, unmoved)

    def _controller_lives(self, roles: list[RoleView]) -> bool:
        """It knows the instances too, and forgets workers when theirs are gone."""
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
                logger().info("a worker that stood still was forgotten", worker=id_)
