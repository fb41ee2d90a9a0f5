"""Groups results, so that each request to a queue is full where requests cost money."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence

from app_tier.pipeline.in_flight import InFlight
from app_tier.pipeline.result_writer import FinishedItem

MAX_WAIT_S = 2.0
"""How long a result waits for others to share its requests. At 5 images/s it fills them."""
_POLL_S = 0.05


class ResultBatcher:
    """Takes results, and gives them out in groups of `per_request`; where that is 1, all at once.

    A smaller group is given out after `max_wait_s`, or as soon as no other image in flight could join it. `put` blocks
    while `limit` results wait: that is the back-pressure on the stages before.
    """

    def __init__(self, in_flight: InFlight, *, per_request: int, limit: int, max_wait_s: float = MAX_WAIT_S) -> None:
        self._in_flight = in_flight
        self._per_request = per_request
        self._limit = max(limit, per_request)
        self._max_wait_s = max_wait_s
        self._waiting: deque[tuple[float, FinishedItem]] = deque()
        self._writing = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, group: Sequence[FinishedItem]) -> None:
        """Add results."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < self._limit)
            self._waiting.extend((time.monotonic(), item) for item in group)
            self._changed.notify_all()

    def next(self) -> list[FinishedItem]:
        """Wait for the next group; its writer reports it by `mark_written`. Empty once this is closed."""
        with self._changed:
            while not self._is_due():
                if self._closed and not self._waiting:
                    return []
                # InFlight does not notify this of changes, so it is polled.
                self._changed.wait(_POLL_S if self._waiting else None)
            count = min(len(self._waiting), self._per_request) if self._per_request > 1 else len(self._waiting)
            group = [self._waiting.popleft()[1] for _ in range(count)]
            self._writing += count
            self._changed.notify_all()
            return group

    def mark_written(self, group: Sequence[FinishedItem]) -> None:
        """Report that a group of `next` is written, or was released."""
        with self._changed:
            self._writing -= len(group)
            self._changed.notify_all()

    def wait_until_written(self, timeout_s: float) -> bool:
        """Wait until no group is being written. Return whether it is so after `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._writing, timeout_s)

    def close(self) -> None:
        """Give out what waits, then nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _is_due(self) -> bool:
        if not self._waiting:
            return False
        if self._closed or len(self._waiting) >= self._per_request:
            return True
        others_may_join = len(self._in_flight) > len(self._waiting) + self._writing
        return not others_may_join or time.monotonic() - self._waiting[0][0] >= self._max_wait_s
