"""What the web tier knows of the workers: their heartbeats, read at most once a second, those of dead ones left out."""

from __future__ import annotations

import threading
from collections.abc import Callable

from core.errors import Unavailable
from core.roster import Heartbeat, Roster, WorkerState

_FRESH_S = 1.0
_BOOTING = (WorkerState.STARTING, WorkerState.WARMING)


class FleetView:
    """Safe for several threads. A worker lives while its heartbeat changes; `clock` is monotonic."""

    def __init__(self, roster: Roster, *, lost_after_s: float, clock: Callable[[], float]) -> None:
        self._roster = roster
        self._lost_after_s = lost_after_s
        self._clock = clock
        self._lock = threading.Lock()
        self._read_at = float("-inf")
        self._seen: dict[str, tuple[int, float]] = {}
        self._live: list[Heartbeat] = []

    def workers(self) -> list[Heartbeat]:
        """Raises Unavailable."""
        with self._lock:
            now = self._clock()
            if now - self._read_at >= _FRESH_S:
                self._live = self._read(now)
                self._read_at = now
            return self._live

    def workers_of(self, pool: str) -> tuple[int, int]:
        """How many workers of the pool are ready and how many boot; none where the store does not answer."""
        try:
            states = [worker.state for worker in self.workers() if worker.pool == pool]
        except Unavailable:
            return 0, 0
        return sum(state.ready for state in states), sum(state in _BOOTING for state in states)

    def _read(self, now: float) -> list[Heartbeat]:
        beats = self._roster.workers()
        seen = {}
        for beat in beats:
            seq, since = self._seen.get(beat.worker_id, (-1, now))
            seen[beat.worker_id] = (beat.seq, now if beat.seq != seq else since)
        self._seen = seen
        return [beat for beat in beats if now - seen[beat.worker_id][1] < self._lost_after_s]
