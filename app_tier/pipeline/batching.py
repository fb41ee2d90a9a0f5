"""Decoded images, gathered into batches for the tagger that made their frames."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from itertools import islice, takewhile

from app_tier.pipeline.item import Work

_AHEAD = 3
"""Batches that may wait: decoding goes on while one is tagged."""


class Batching:
    """Takes decoded images in, and hands out batches of `size`, or of as many as their tagger takes at once.

    A smaller batch goes out after `wait_s`, or as soon as none is `on_the_way` that could join it. `put` waits while
    there are some batches here: that is the stages' back-pressure.
    """

    def __init__(self, size: int, wait_s: float, on_the_way: Callable[[], int]) -> None:
        self._size = size
        self._wait_s = wait_s
        self._on_the_way = on_the_way
        self._waiting: deque[Work] = deque()
        self._closed = False
        self._changed = threading.Condition()

    def put(self, work: Work) -> None:
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < _AHEAD * self._most(work) or self._closed)
            self._waiting.append(work)
            self._changed.notify_all()

    def next(self) -> list[Work]:
        """Waits for the next batch, all of it of one tagger; empty once this is closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed)
            until = time.monotonic() + self._wait_s
            while self._waiting and len(self._waiting) < self._most(self._waiting[0]):
                left = until - time.monotonic() if self._on_the_way() else 0.0
                if left <= 0 or not self._changed.wait(left):
                    break
            batch = self._first() if self._waiting else []
            for _ in batch:
                self._waiting.popleft()
            self._changed.notify_all()
            return batch

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _first(self) -> list[Work]:
        """While a tagger is succeeded, images of both are here; one that is suspected goes alone."""
        first = self._waiting[0]
        if first.alone:
            return [first]
        alike = takewhile(lambda work: work.tagger is first.tagger and not work.alone, self._waiting)
        return list(islice(alike, self._most(first)))

    def _most(self, work: Work) -> int:
        if work.alone:
            return 1
        most = work.tagger.most_at_once if work.tagger else None
        return min(most or self._size, self._size)
