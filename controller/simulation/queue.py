"""A queue of images without content: portions of equal images, and counts that are as late and as wrong as SQS's.

AWS documents of `ApproximateNumberOfMessages` and its siblings that they "may not achieve consistency until at least
1 minute after the producers stop sending messages" (Amazon SQS API Reference, GetQueueAttributes).
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from controller.simulation.scenario import Weather
from controller.simulation.timeline import Timeline
from core.errors import Unavailable
from core.storage.ports import Depth

_CONSISTENT_S = 60.0
"""A count is never older than this."""


@dataclass(slots=True)
class Portion:
    """Images that arrived together and are delivered together."""

    arrived: float
    count: int
    receives: int = 0


@dataclass
class SimulatedQueue:
    """`visible`, `held` and `dead` are the true counts; `depth` answers as SQS would."""

    name: str
    timeline: Timeline
    weather: Weather
    chance: random.Random
    max_receives: int = 10
    visible: int = 0
    held: int = 0
    dead: int = 0
    sent: int = 0
    changed_at: float = float("-inf")
    _portions: deque[Portion] = field(default_factory=deque)
    _seen: deque[Depth] = field(default_factory=deque)

    @property
    def outstanding(self) -> int:
        return self.visible + self.held

    # --- producers and workers ----------------------------------------------------------------

    def put(self, count: int) -> None:
        self._portions.append(Portion(self.timeline.now, count))
        self.visible += count
        self.sent += count
        self.changed_at = self.timeline.now

    def fill(self, count: int) -> None:
        """Make exactly `count` images wait, by sending more or by losing the oldest ones."""
        if count > self.visible:
            self.put(count - self.visible)
            return
        lost = self.take(self.visible - count)
        self.done(lost)
        self.sent -= sum(portion.count for portion in lost)

    def take(self, limit: int) -> list[Portion]:
        """Up to `limit` images, the oldest first, now in flight."""
        taken: list[Portion] = []
        left = min(limit, self.visible)
        while left:
            first = self._portions[0]
            if first.count <= left:
                self._portions.popleft()
            else:
                first.count -= left
                first = Portion(first.arrived, left, first.receives)
            first.receives += 1
            left -= first.count
            self.visible -= first.count
            self.held += first.count
            taken.append(first)
        return taken

    def done(self, portions: Sequence[Portion]) -> None:
        self.held -= sum(portion.count for portion in portions)
        self.changed_at = self.timeline.now

    def come_back(self, portions: Sequence[Portion]) -> None:
        """Make images visible again. Those that were received too often become dead letters."""
        for portion in reversed(portions):
            self.held -= portion.count
            if portion.receives >= self.max_receives:
                self.dead += portion.count
            else:
                self.visible += portion.count
                self._portions.appendleft(portion)
        self.changed_at = self.timeline.now

    # --- the port -----------------------------------------------------------------------------

    def depth(self) -> Depth:
        now, weather, chance = self.timeline.now, self.weather, self.chance
        if chance.random() < weather.outages:
            raise Unavailable(f"queue {self.name} does not answer")
        self._seen.append(Depth(self.visible, self.held, 0, self.dead, now))
        lag = min(_CONSISTENT_S, chance.expovariate(1 / weather.count_lag_s)) if weather.count_lag_s else 0.0
        while len(self._seen) > 1 and self._seen[1].read_at <= now - _CONSISTENT_S:
            self._seen.popleft()
        truth = next((seen for seen in reversed(self._seen) if seen.read_at <= now - lag), self._seen[0])
        visible, in_flight = self._blurred(truth.visible), self._blurred(truth.in_flight)
        if now - self.changed_at < _CONSISTENT_S and chance.random() < weather.phantoms:
            visible += chance.randint(1, 3)
        return Depth(visible, in_flight, 0, truth.dead, now)

    def _blurred(self, count: int) -> int:
        noise = self.weather.count_noise
        return max(0, round(count * self.chance.gauss(1.0, noise))) if noise else count
