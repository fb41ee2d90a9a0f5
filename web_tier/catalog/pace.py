"""Change many rows in short groups, and leave time for other writers between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

T = TypeVar("T")

_HELD_S = 0.03
"""How long a group should hold its locks: a wait that nobody notices."""
_FIRST, _FEWEST, _MOST = 50, 10, 500
_REST_S = (0.002, 1.0)


class Pace:
    """Chooses how many rows go into a group, from how long the previous groups held their locks.

    For one thread at a time. `clock` is monotonic, in seconds.
    """

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, pause: Callable[[float], object] = time.sleep
    ) -> None:
        self._clock = clock
        self._pause = pause
        self._size = _FIRST
        self._held_s = 0.0

    @contextmanager
    def measuring(self) -> Iterator[None]:
        """Measure this block, in which a group holds its locks. Waiting for the locks stays outside."""
        began = self._clock()
        yield
        self._held_s = self._clock() - began

    def groups(self, rows: Sequence[T]) -> Iterator[Sequence[T]]:
        """Yield `rows` in groups, and pause after each for as long as it held its locks."""
        start = 0
        while start < len(rows):
            group = rows[start : start + self._size]
            start += len(group)
            self._held_s = 0.0
            yield group
            shortest, longest = _REST_S
            self._pause(min(max(self._held_s, shortest), longest))
            factor = min(max(_HELD_S / max(self._held_s, 1e-6), 0.5), 2.0)
            if len(group) == self._size or factor < 1:
                self._size = min(max(round(self._size * factor), _FEWEST), _MOST)
