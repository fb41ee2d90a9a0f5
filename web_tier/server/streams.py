"""Event streams without a thread each: a few threads poll all of them in turn."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

OFFER = "tagfleet.event_stream"
"""Key of a list in the WSGI environment, if the server supports streams. The application adds its EventStream."""

_THREADS = 4
_MOST = 256 * 1024
"""Bytes taken from one stream at a time: a long replay must not make the others wait."""


@dataclass(eq=False)
class EventStream:
    """The events for one reader, as an iterator that yields b"" when there are none now.

    Streams of the same `group` read the same data, and are polled together.
    """

    group: str
    steps: Iterator[bytes]
    ended: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def step(self) -> bytes:
        """Return the events that there are now. Sets `ended` when no more will come."""
        events: list[bytes] = []
        with self._lock:
            while not self.ended and sum(map(len, events)) < _MOST:
                piece = next(self.steps, None)
                if piece is None:
                    self.ended = True
                elif piece:
                    events.append(piece)
                else:
                    break
        return b"".join(events)

    def close(self) -> None:
        """Close the iterator, after a step that is in progress."""
        with self._lock:
            self.ended = True
            close = getattr(self.steps, "close", None)
            if close is not None:
                close()


class Streams:
    """Polls streams for the coroutines that write them. The event loop creates and calls it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, poll_s: float) -> None:
        self._loop = loop
        self._poll_s = poll_s
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="streams")
        self._waiting: dict[str, dict[EventStream, asyncio.Future[bytes]]] = {}

    async def step(self, stream: EventStream, *, soon: bool) -> bytes:
        """Wait for the stream's next events or its end. `soon` polls it at once, instead of with the others."""
        if soon:
            events: bytes = await self._loop.run_in_executor(self._threads, stream.step)
            if events or stream.ended:
                return events
        later: asyncio.Future[bytes] = self._loop.create_future()
        if stream.group not in self._waiting:
            self._waiting[stream.group] = {}
            self._loop.call_later(self._poll_s, self._poll, stream.group)
        self._waiting[stream.group][stream] = later
        try:
            return await later
        finally:
            self._waiting.get(stream.group, {}).pop(stream, None)

    def close(self, stream: EventStream) -> None:
        """Close a stream, after a step that is in progress."""
        with suppress(RuntimeError):  # the process is ending, and its threads have ended
            self._threads.submit(stream.close)

    def stop(self) -> None:
        """End the threads without waiting for them."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _poll(self, group: str) -> None:
        polled = [stream for stream, future in self._waiting[group].items() if not future.done()]
        if not polled:
            del self._waiting[group]
            return
        polling = self._loop.run_in_executor(self._threads, _step_all, polled)
        polling.add_done_callback(lambda answered: self._deliver(group, answered))

    def _deliver(
        self, group: str, answered: asyncio.Future[list[tuple[EventStream, bytes, BaseException | None]]]
    ) -> None:
        if answered.cancelled() or answered.exception() is not None:  # the process is ending
            return
        waiting = self._waiting[group]
        for stream, events, error in answered.result():
            future = waiting.get(stream)
            if future is None or future.done():
                continue
            if error is not None:
                future.set_exception(error)
            elif events or stream.ended:
                future.set_result(events)
        self._loop.call_later(self._poll_s, self._poll, group)


def _step_all(streams: list[EventStream]) -> list[tuple[EventStream, bytes, BaseException | None]]:
    """Return the events of each stream, or its error, which must not affect the others."""
    answers: list[tuple[EventStream, bytes, BaseException | None]] = []
    for stream in streams:
        try:
            answers.append((stream, stream.step(), None))
        except Exception as error:  # noqa: BLE001  # raised in the coroutine of this stream
            answers.append((stream, b"", error))
    return answers
