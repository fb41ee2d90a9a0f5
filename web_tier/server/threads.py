"""The threads that run the application, and a check whether they make progress."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

_STUCK_S = 75.0
"""Longer than a request may ask to wait (Prefer: wait, 60 s)."""


class Threads:
    """At most `count` threads. Called by the event loop."""

    def __init__(self, count: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._count = count
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="request")
        self._clock = clock
        self._busy = 0
        self._moved_at = clock()

    async def run(self, work: Callable[[], T]) -> T:
        """Run `work` in a thread, and return or raise what it does."""
        if not self._busy:
            self._moved_at = self._clock()
        self._busy += 1
        done = self._pool.submit(work)
        done.add_done_callback(lambda _done: self.moved())
        try:
            return await asyncio.wrap_future(done)
        finally:
            self._busy -= 1

    def start(self, work: Callable[[], object]) -> None:
        """Run `work` in a thread without waiting for it."""
        with suppress(RuntimeError):  # the process is ending, and its threads have ended
            self._pool.submit(work)

    def moved(self) -> None:
        """Record progress: a step ended, or bytes came for one."""
        self._moved_at = self._clock()

    @property
    def stuck(self) -> bool:
        """Whether more work waits than there are threads, and there was no progress for a long time."""
        return self._busy > self._count and self._clock() - self._moved_at > _STUCK_S

    def stop(self) -> None:
        """End the threads without waiting for them."""
        self._pool.shutdown(wait=False, cancel_futures=True)
