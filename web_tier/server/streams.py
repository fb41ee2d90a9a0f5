"""Event streams that cost no thread: a few threads ask all of them in turn whether there is something to tell."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

OFFER = "tagfleet.event_stream"
"""In a request's environment where a server takes streams: a list, into which the application puts its EventStream."""

_THREADS = 4
_MOST = 256 * 1024
"""Bytes taken from one stream at a time; a long replay must not keep the others waiting."""


@dataclass(eq=False)
class EventStream:
    """The events for one reader, as an iterator that gives nothing (b"") when it has nothing to tell now.

    Streams of the same `group` read the same things, and are asked together.
    """

    group: str
    steps: Iterator[bytes]
    ended: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def step(self) -> bytes:
        """What there is to tell now; `ended` is set when there will be nothing more."""
        told: list[bytes] = []
        with self._lock:
            while not self.ended and sum(map(len, told)) < _MOST:
                piece = next(self.steps, None)
                if piece is None:
                    self.ended = True
                elif piece:
                    told.append(piece)
                else:
                    break
        return b"".join(told)

    def close(self) -> None:
        """Let go of what the iterator holds; waits for a step that is under way."""
        with self._lock:
            self.ended = True
            close = getattr(self.steps, "close", None)
            if close is not None:
                close()


class Streams:
    """Steps streams for the coroutines that write them. Made and called by the event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, poll_s: float) -> None:
        self._loop = loop
        self._poll_s = poll_s
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="streams")
        self._waiting: dict[str, dict[EventStream, asyncio.Future[bytes]]] = {}

    async def step(self, stream: EventStream, *, soon: bool) -> bytes:
        """Wait for the stream's next events, or its end. With `soon` the first look is not put off."""
        if soon:
            told: bytes = await self._loop.run_in_executor(self._threads, stream.step)
            if told or stream.ended:
                return told
        told_later: asyncio.Future[bytes] = self._loop.create_future()
        if stream.group not in self._waiting:
            self._waiting[stream.group] = {}
            self._loop.call_later(self._poll_s, self._poll, stream.group)
        self._waiting[stream.group][stream] = told_later
        try:
            return await told_later
        finally:
            self._waiting.get(stream.group, {}).pop(stream, None)

    def close(self, stream: EventStream) -> None:
        """Let a stream go, once a step that is under way has ended."""
        with suppress(RuntimeError):  # the process ends, and the threads have
            self._threads.submit(stream.close)

    def stop(self) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _poll(self, group: str) -> None:
        asking = [stream for stream, told in self._waiting[group].items() if not told.done()]
        if not asking:
            del self._waiting[group]
            return
        asked = self._loop.run_in_executor(self._threads, _ask, asking)
        asked.add_done_callback(lambda answered: self._tell(group, answered))

    def _tell(
        self, group: str, answered: asyncio.Future[list[tuple[EventStream, bytes, BaseException | None]]]
    ) -> None:
        if answered.cancelled() or answered.exception() is not None:  # the process ends
            return
        waiting = self._waiting[group]
        for stream, told, error in answered.result():
            future = waiting.get(stream)
            if future is None or future.done():
                continue
            if error is not None:
                future.set_exception(error)
            elif told or stream.ended:
                future.set_result(told)
        self._loop.call_later(self._poll_s, self._poll, group)


def _ask(streams: list[EventStream]) -> list[tuple[EventStream, bytes, BaseException | None]]:
    """What each has to tell, or what went wrong with it, which is no other stream's business."""
    answers: list[tuple[EventStream, bytes, BaseException | None]] = []
    for stream in streams:
        try:
            answers.append((stream, stream.step(), None))
        except Exception as error:  # noqa: BLE001  # goes to the one whose stream it is
            answers.append((stream, b"", error))
    return answers
