"""Virtual time: events in the order of their moments."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count


class Timeline:
    """`now` is in seconds. Of events at one moment the one that was scheduled first happens first."""

    def __init__(self, start: float) -> None:
        self.now = start
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = count()

    def after(self, seconds: float, action: Callable[[], None]) -> None:
        """Schedule `action`; a negative delay counts as none."""
        heapq.heappush(self._events, (self.now + max(0.0, seconds), next(self._order), action))

    def run_until(self, moment: float) -> None:
        """Run all events up to and including `moment`, which is `now` afterwards."""
        events = self._events
        while events and events[0][0] <= moment:
            self.now, _, action = heapq.heappop(events)
            action()
        self.now = max(self.now, moment)
