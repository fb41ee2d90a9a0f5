"""How often a run looks at its progress: each look is a request to the queue and a listing, which cost money."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

SHORTEST_S = 1.0
LONGEST_S = 15.0
_IMAGES = 500
"""Images that are done between two looks while many are in hand."""
_SAMPLES = 8
_SHARE = 0.1
"""The largest share of the time that looks take."""


class PollInterval:
    """Chooses the pause before the next look from the rate of the last ones. `clock` is monotonic.

    About `_IMAGES` are done in a pause, or half of those in hand if that is less, so the end of a run is noticed soon.
    While nothing is done, pauses double.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._samples: deque[tuple[float, int]] = deque(maxlen=_SAMPLES)
        self.pause_s = SHORTEST_S

    def record(self, done: int, in_hand: int, took_s: float = 0.0) -> None:
        """Record a look that took `took_s` seconds: the images done, and those sent and not done (`in_hand`)."""
        now = self._clock()
        self._samples.append((now, done))
        then, before = self._samples[0]
        pause_s = 2 * self.pause_s
        if done > before:
            pause_s = min(_IMAGES, in_hand / 2) * (now - then) / (done - before)
        self.pause_s = max(SHORTEST_S, took_s / _SHARE, min(pause_s, LONGEST_S))
