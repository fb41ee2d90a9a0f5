"""The threads that run the application, and whether they get anywhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")

_STUCK_S = 75.0
"""Longer than any request may wait by its own wish (Prefer: wait, 60 s)."""


class Threads:
    """`count` threads at most. Called by the event loop."""

    def __init__(self, count: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._count = count
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="request")
        self._clock = clock
        self._busy = 0
        self._moved_at = clock()

    async def run(self, work: Callable[[], T]) -> T:
        """What `work` returns or raises, in a thread."""
        if not self._busy:
            self._moved_at = self._clock()
        self._busy += 1
        done = self._pool.submit(work)
        done.add_done_callback(lambda _done: self.moved())
        try:
            return await asyncio.wrap_future(done)
        finally:
            self._busy -= 1

    def begin(self, work: Callable[[], object]) -> None:
        """Have `work` done in some thread; nobody waits for it."""
        with suppress(RuntimeError):  # the process ends, and the threads have
            self._pool.submit(work)

    def moved(self) -> None:
        """Something went on: a step ended, or bytes came for one."""
        self._moved_at = self._clock()

    @property
    def stuck(self) -> bool:
        """Whether more is asked for than there are threads, and nothing has gone on for a long time."""
        return self._busy > self._count and self._clock() - self._moved_at > _STUCK_S

    def stop(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
