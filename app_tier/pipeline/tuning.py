"""Measures the stages of a pipeline while they work, and adapts their sizes: `sizing` has the formulas.

It has no thread of its own. The threads that it counts report each piece of work, and every tenth of a second one of
these reports changes the sizes. While nothing is done nothing changes.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from app_tier.pipeline.crew import Crew
from app_tier.pipeline.in_flight import InFlight
from app_tier.pipeline.sizing import Sizes, Sizing

_INTERVAL_S = 0.1
_FEWEST_PIECES = 4
"""Pieces of work in an interval that is measured."""
_IDLE_S = 2.0
"""A stage that did nothing for this long was idle: that time says nothing about its rate."""
_SMOOTHED = 5
"""Intervals whose average is the rate: reads that began together also end together."""
_RATES = 20
"""Averages of which the highest counts, so that a lull of two seconds changes nothing."""
_LATENCIES = 3000
"""Intervals whose lowest latency counts: five minutes of work."""


@dataclass(frozen=True, slots=True)
class Throughput:
    """How fast a stage works: pieces of work a second, images a second, and the seconds that one piece takes."""

    rate: float
    images: float
    latency_s: float


class Meter:
    """Measures one stage. Safe for several threads. `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._intervals: deque[tuple[int, int, float]] = deque(maxlen=_SMOOTHED)  # pieces, images, seconds
        self._rates: deque[tuple[float, float]] = deque(maxlen=_RATES)
        self._latencies: deque[float] = deque(maxlen=_LATENCIES)
        self._last = float("-inf")
        self._restart(clock())

    def record(self, seconds: float, images: int = 1) -> Throughput | None:
        """Record a piece of work for `images` that took so long. Return the throughput if an interval ends with it."""
        with self._lock:
            now, before = self._clock(), self._last
            self._last = now
            if now - before > _IDLE_S:
                self._intervals.clear()
                self._restart(now)
                return None
            self._pieces += 1
            self._images += images
            self._seconds += seconds
            interval = now - self._since
            if interval < _INTERVAL_S or self._pieces < _FEWEST_PIECES:
                return None
            self._intervals.append((self._pieces, self._images, interval))
            pieces, images, took = map(sum, zip(*self._intervals, strict=True))
            self._rates.append((pieces / took, images / took))
            self._latencies.append(self._seconds / self._pieces)
            self._restart(now)
            return Throughput(
                max(rate for rate, _ in self._rates), max(images for _, images in self._rates), min(self._latencies)
            )

    def _restart(self, now: float) -> None:
        self._since, self._pieces, self._images, self._seconds = now, 0, 0, 0.0


class Tuner:
    """Adapts the threads of `fetch` and `finish`, and the messages in flight, to their measured throughput."""

    def __init__(
        self,
        sizing: Sizing,
        fetch: Crew,
        finish: Crew,
        in_flight: InFlight,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sizing = sizing
        self._fetch = fetch
        self._finish = finish
        self._in_flight = in_flight
        self._first = sizing.first()
        self._fetched, self._finished = Meter(clock), Meter(clock)

    @property
    def sizes(self) -> Sizes:
        """The present sizes."""
        first = self._first
        return Sizes(first.batch, self._in_flight.limit, self._fetch.size, first.decode_threads, self._finish.size)

    def fetched(self, seconds: float) -> None:
        """Report that reading an image took so long."""
        if measured := self._fetched.record(seconds):
            self._fetch.resize(self._sizing.fetch_threads(measured.rate, measured.latency_s))

    def finished(self, seconds: float, images: int) -> None:
        """Report that writing a group of results took so long."""
        if measured := self._finished.record(seconds, images):
            self._finish.resize(self._sizing.finish_threads(measured.rate, measured.latency_s))
            self._in_flight.limit = self._sizing.prefetch(measured.images)
