"""Tells how long the calls that are under way have taken, and the slowest that ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager


class CallWatch:
    """Watches the calls into a tagger, of which one may hang. Safe for several threads. `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._started: dict[object, float] = {}
        self._slowest_s = 0.0
        self._lock = threading.Lock()

    @contextmanager
    def call(self) -> Iterator[None]:
        """Watch a call while the block runs."""
        this_call = object()
        with self._lock:
            self._started[this_call] = self._clock()
        try:
            yield
        finally:
            with self._lock:
                self._slowest_s = max(self._slowest_s, self._clock() - self._started.pop(this_call))

    @property
    def slowest_s(self) -> float:
        """How many seconds the slowest call that ended took. 0 before the first ended."""
        return self._slowest_s

    def longest_s(self) -> float:
        """Return how many seconds the slowest call has taken so far. 0 if none is under way."""
        with self._lock:
            return self._clock() - min(self._started.values()) if self._started else 0.0
