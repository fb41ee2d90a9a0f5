"""The threads that run requests: a process whose threads all hang is detected, a busy one is not."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from web_tier.server.threads import Threads


class Watch:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_threads_that_all_hang_are_stuck_when_more_is_asked_for():
    async def story() -> None:
        watch, release = Watch(), threading.Event()
        threads = Threads(2, watch)
        try:
            hanging = [asyncio.create_task(threads.run(release.wait)) for _ in range(2)]
            await asyncio.sleep(0)
            watch.now = 1000.0
            assert not threads.stuck, "nobody waits for them"
            waiting = asyncio.create_task(threads.run(lambda: None))
            await asyncio.sleep(0)
            assert threads.stuck
            threads.moved()
            assert not threads.stuck, "bytes of a body came"
            watch.now = 2000.0
            assert threads.stuck
            release.set()
            await asyncio.gather(*hanging, waiting)
            assert not threads.stuck
        finally:
            release.set()
            threads.stop()

    with ThreadPoolExecutor(1) as thread:  # a browser of other tests may have an event loop in this one
        thread.submit(asyncio.run, story()).result(120)
