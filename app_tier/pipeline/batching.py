"""Groups decoded images into batches for the tagger that made their frames."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import islice, takewhile

from app_tier.pipeline.item import WorkItem

_AHEAD = 3
"""Batches that may wait, so that decoding goes on while one is tagged."""


class InferenceBatcher:
    """Takes decoded images, and gives out batches of `size`, or of what their tagger takes at once if that is less.

    A smaller batch is given out after `wait_s`, or as soon as `expected` is 0: it counts the images that may still
    come. `put` blocks while a few batches wait: that is the back-pressure on the stages before.
    """

    def __init__(self, size: int, wait_s: float, expected: Callable[[], int]) -> None:
        self._size = size
        self._wait_s = wait_s
        self._expected = expected
        self._waiting: deque[WorkItem] = deque()
        self._closed = False
        self._changed = threading.Condition()

    def put(self, item: WorkItem) -> None:
        """Add an image that has a frame."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < _AHEAD * self._full_size(item) or self._closed)
            self._waiting.append(item)
            self._changed.notify_all()

    def next(self) -> list[WorkItem]:
        """Wait for the next batch, all of one tagger. Empty once this is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            until = time.monotonic() + self._wait_s
            while self._waiting and len(self._waiting) < self._full_size(self._waiting[0]):
                left = until - time.monotonic() if self._expected() else 0.0
                if left <= 0 or not self._changed.wait(left):
                    break
            batch = self._first_batch() if self._waiting else []
            for _ in batch:
                self._waiting.popleft()
            self._changed.notify_all()
            return batch

    def close(self) -> None:
        """Give out what waits, then nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        return len(self._waiting)

    def _first_batch(self) -> list[WorkItem]:
        """Return the images before the first one of another tagger, or one that needs a batch of its own."""
        first = self._waiting[0]
        if first.needs_own_batch:
            return [first]
        alike = takewhile(lambda item: item.tagger is first.tagger and not item.needs_own_batch, self._waiting)
        return list(islice(alike, self._full_size(first)))

    def _full_size(self, item: WorkItem) -> int:
        if item.needs_own_batch:
            return 1
        most = item.tagger.most_at_once if item.tagger else None
        return min(most or self._size, self._size)
