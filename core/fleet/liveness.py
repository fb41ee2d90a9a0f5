"""Who lives: the one place that judges it, for the controller, the web tier, the collector, `up` and `status`.

1. A process tells that it lives by a mark that changes: the `seq` of its heartbeat, the etag of its object.
2. A reader counts how long a mark has stood still, on the reader's own clock. The times in a heartbeat are for people:
   no two clocks are ever compared.
3. Only time in which the reader watched counts. One that slept, was stopped, or could not read the store blames nobody
   for what it did not see; so a laptop that wakes up finds all its processes alive.
4. Silence can end: a process that was slow is alive again at its next mark, whatever was concluded meanwhile.
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
    """The silence of each process by its key, in seconds. No clock and no I/O: `look` is told both."""

    def __init__(self) -> None:
        self._lives: dict[str, _Life] = {}

    def look(self, marks: Mapping[str, Hashable | None], elapsed_s: float) -> None:
        """Take in the marks of one look, `elapsed_s` of watching after the one before.

        None stands for a process of which nothing was heard this time; one that is missing is forgotten.
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
                life.moved = life.mark is not None  # nothing, then a mark: it may be left from a dead process
                life.mark, life.silent_s = mark, 0.0

    def silent_s(self, key: str) -> float:
        """How long the mark of `key` has stood still; 0 for one that is seen for the first time, or unknown."""
        life = self._lives.get(key)
        return life.silent_s if life else 0.0

    def moved(self, key: str) -> bool:
        """Whether the mark of `key` was seen to change: before that it may be left from a dead process."""
        life = self._lives.get(key)
        return life is not None and life.moved


class Attention:
    """Seconds of watching between looks: a gap counts for `longest_s` at most. `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float], longest_s: float) -> None:
        self._clock = clock
        self._longest_s = longest_s
        self._at: float | None = None

    def elapsed(self) -> float:
        """Seconds since the last call, which was a look that succeeded; 0 at the first."""
        now = self._clock()
        before, self._at = self._at, now
        return 0.0 if before is None else min(now - before, self._longest_s)
