"""Finished images, gathered into groups that fill a request to the queues where requests are paid for."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence

from app_tier.pipeline.in_flight import Held
from app_tier.pipeline.result_writer import Finished

GATHER_S = 2.0
"""How long a finished image waits for others to share its requests, while others are in hand: 5 images/s fill them."""
_LOOK_AGAIN_S = 0.05


class Gathering:
    """Takes finished images in, and hands out groups of `per_request`, or at once all there are where that is 1.

    A smaller group goes out after `gather_s`, or as soon as this worker holds nothing else that could join it. `put`
    waits while `limit` images are here: that is the stages' back-pressure.
    """

    def __init__(self, held: Held, *, per_request: int, limit: int, gather_s: float = GATHER_S) -> None:
        self._held = held
        self._full = per_request
        self._limit = max(limit, per_request)
        self._gather_s = gather_s
        self._waiting: deque[tuple[float, Finished]] = deque()
        self._delivering = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, group: Sequence[Finished]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < self._limit)
            self._waiting.extend((time.monotonic(), finished) for finished in group)
            self._changed.notify_all()

    def next(self) -> list[Finished]:
        """Waits for the next group, which `delivered` is told of later; empty once this is closed."""
        with self._changed:
            while not self._is_due():
                if self._closed and not self._waiting:
                    return []
                # What is held changes without a word from `Held`.
                self._changed.wait(_LOOK_AGAIN_S if self._waiting else None)
            count = min(len(self._waiting), self._full) if self._full > 1 else len(self._waiting)
            group = [self._waiting.popleft()[1] for _ in range(count)]
            self._delivering += count
            self._changed.notify_all()
            return group

    def delivered(self, group: Sequence[Finished]) -> None:
        with self._changed:
            self._delivering -= len(group)
            self._changed.notify_all()

    def wait_until_delivered(self, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: not self._delivering, timeout_s)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _is_due(self) -> bool:
        if not self._waiting:
            return False
        if self._closed or len(self._waiting) >= self._full:
            return True
        more_to_come = len(self._held) > len(self._waiting) + self._delivering
        return not more_to_come or time.monotonic() - self._waiting[0][0] >= self._gather_s
