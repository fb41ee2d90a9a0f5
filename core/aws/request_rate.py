"""Slows requests down after a service asked for fewer, and speeds them up again while it does not.

1. Nothing is limited until the service throttles. Until then a request costs one look at the clock.
2. A throttled request sets a limit: a share of the rate at which requests went out lately. Another one lowers it.
3. The limit grows with time, and is gone once it is well above the rate that was throttled.

botocore's adaptive mode does the same for its own requests, with a cubic curve; this one grows in a straight line.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_KEPT = 0.7
"""The share of the rate that a throttled client keeps."""
_REGAINED_S = 10.0
"""Seconds in which the limit grows by the rate that was throttled."""
_FORGOTTEN = 2.0
"""The limit is gone at this many times the rate that was throttled."""
_LEAST = 5.0
"""Requests a second that are always allowed: so few are not what a service complains of."""
_WINDOW_S = 1.0
"""The time over which the rate is measured, and in which one throttled request counts for all that were under way."""


class RequestRate:
    """Safe for several threads, which share one limit. `rest` waits some seconds."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, rest: Callable[[float], object] = time.sleep
    ) -> None:
        self._clock = clock
        self._rest = rest
        self._lock = threading.Lock()
        self._window = clock()
        self._sent = 0
        self._rate = 0.0
        self._throttled = 0.0  # the rate that was too high; 0: no limit
        self._since = 0.0
        self._next = 0.0

    def wait(self) -> None:
        """Count a request, and wait until it may go out."""
        with self._lock:
            now = self._clock()
            self._sent += 1
            if (passed := now - self._window) >= _WINDOW_S:
                self._rate = self._sent / passed
                self._window, self._sent = now, 0
            pause = self._reserve(now) if self._throttled else 0.0
        if pause > 0:
            self._rest(pause)

    def slow_down(self) -> None:
        """Take note that the service asked for fewer requests."""
        with self._lock:
            now = self._clock()
            if self._throttled and now - self._since < _WINDOW_S:
                return
            lately = self._sent / max(now - self._window, _WINDOW_S)
            rate = self._allowed(now) if self._throttled else max(self._rate, lately)
            self._throttled = max(rate, _LEAST / _KEPT)
            self._since = self._next = now

    def _allowed(self, now: float) -> float:
        """Return the requests a second that may go out now."""
        return self._throttled * (_KEPT + (now - self._since) / _REGAINED_S)

    def _reserve(self, now: float) -> float:
        """Take the next free moment and return the seconds until then."""
        allowed = self._allowed(now)
        if allowed >= _FORGOTTEN * self._throttled:
            self._throttled = 0.0
            return 0.0
        moment = max(self._next, now)
        self._next = moment + 1 / allowed
        return moment - now
