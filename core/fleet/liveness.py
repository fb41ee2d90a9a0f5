"""Judges which processes are alive, for the controller, the web tier, the collector, `up` and `status`.

1. A process shows that it lives by a mark that changes: the `seq` of its heartbeat, or the etag of its object.
2. A reader counts how long a mark has not changed, on the reader's own clock. Times in a heartbeat are for people: two
   clocks are never compared.
3. Only time in which the reader watched counts, not time in which it slept, was stopped, or could not read the store.
   So a laptop that wakes up finds all its processes alive.
4. Silence can end: a slow process is alive again at its next mark, whatever was concluded meanwhile.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass


@dataclass(slots=True)
class _Life:
    mark: Hashable
    silent_s: float = 0.0
    moved: bool = False


class Liveness:
    """Counts the seconds of silence of each process, by the process's key. It has no clock and does no I/O."""

    def __init__(self) -> None:
        self._lives: dict[str, _Life] = {}

    def look(self, marks: Mapping[str, Hashable | None], elapsed_s: float) -> None:
        """Take in the marks of one look, made `elapsed_s` seconds of watching after the last one.

        A mark of None means that the process sent nothing. A process without an entry is forgotten.
        """
        for key in self._lives.keys() - marks.keys():
            del self._lives[key]
        for key, mark in marks.items():
            life = self._lives.get(key)
            if life is None:
                self._lives[key] = _Life(mark)
            elif mark is None or mark == life.mark:
                life.silent_s += elapsed_s
            else:
                life.moved = life.mark is not None  # a first mark may be left from a dead process
                life.mark, life.silent_s = mark, 0.0

    def silent_s(self, key: str) -> float:
        """Return how long the mark of `key` has not changed; 0 for a new or unknown process."""
        life = self._lives.get(key)
        return life.silent_s if life else 0.0

    def moved(self, key: str) -> bool:
        """Return whether the mark of `key` was seen to change. Before that, a dead process may have left it."""
        life = self._lives.get(key)
        return life is not None and life.moved


class Attention:
    """Counts seconds of watching between looks. A longer gap counts as `longest_s`. `clock` is monotonic.

    `at` is the time of the last look, which may have been another process's; None: there was none.
    """

    def __init__(self, clock: Callable[[], float], longest_s: float, at: float | None = None) -> None:
        self._clock = clock
        self._longest_s = longest_s
        self.at = at

    def elapsed(self) -> float:
        """Return the seconds since the last call, 0 for the first. Call it after each look that succeeded."""
        now = self._clock()
        before, self.at = self.at, now
        return 0.0 if before is None else min(now - before, self._longest_s)
