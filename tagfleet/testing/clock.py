"""The clock of a deployment under test: it runs until it is set."""

from __future__ import annotations

import threading
import time


class Clock:
    """Gives Unix seconds: this machine's time, until `set` or `advance` stops the clock at a moment."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._now: float | None = None

    def __call__(self) -> float:
        with self._lock:
            return time.time() if self._now is None else self._now

    def set(self, now: float) -> None:
        """Stop the clock at `now`."""
        with self._lock:
            self._now = now

    def advance(self, seconds: float) -> None:
        """Stop the clock `seconds` later than it shows now."""
        with self._lock:
            self._now = (time.time() if self._now is None else self._now) + seconds
