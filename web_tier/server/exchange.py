"""One run of the WSGI application for one request, in steps that threads execute: begin, next portion, close."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextvars import Context
from typing import Any

from web_tier.server.body import Body
from web_tier.server.streams import OFFER, EventStream

_PORTION = 256 * 1024
"""Bytes of an answer that a thread makes in one step."""

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class Exchange:
    """Each method runs in any thread, one at a time, in one context: a thread is held only while there is work."""

    def __init__(self, application: Application, environ: dict[str, Any], context: Context) -> None:
        self._application = application
        self._environ = environ
        self._context = context
        self._lock = threading.Lock()
        self._abandoned = False
        self._answer: Iterable[bytes] = ()
        self._chunks: Iterator[bytes] = iter(())
        self.status = 500
        self.headers: list[tuple[bytes, bytes]] = []
        self.stream: EventStream | None = None
        self.done = False
        """Whether the answer is complete, and closed."""

    def begin(self, body: Body) -> bytes:
        """Run the application; return its answer's first portion. Raises BodyNeeded and the application's errors."""
        return self._in_context(lambda: self._begin(body))

    def next_portion(self) -> bytes:
        """Return the next portion of the answer. Raises what the application raises in the middle of it."""
        return self._in_context(self._portion)

    def close(self) -> None:
        """Close the application's answer. If a thread is working on it, that thread closes it at its end."""
        self._abandoned = True
        if self._lock.acquire(blocking=False):
            try:
                self._context.run(self._close)
            finally:
                self._lock.release()

    def _in_context(self, work: Callable[[], bytes]) -> bytes:
        try:
            with self._lock:
                try:
                    return self._context.run(work)
                except BaseException:
                    self._context.run(self._close)
                    raise
        finally:
            if self._abandoned:  # read after the release: `close`, if it could not get the lock, left the closing to us
                self.close()

    def _begin(self, body: Body) -> bytes:
        offer: list[EventStream] = []
        environ = self._environ | {"wsgi.input": body, OFFER: offer}
        self._answer = self._application(environ, self._start)
        self._chunks = iter(self._answer)
        if offer and self._environ["REQUEST_METHOD"] != "HEAD":
            self.stream = offer[0]
            return b""
        return self._portion()

    def _portion(self) -> bytes:
        made: list[bytes] = []
        size = 0
        while size < _PORTION:
            chunk = next(self._chunks, None)
            if chunk is None:
                self._close()
                self.done = True
                break
            made.append(chunk)
            size += len(chunk)
        return made[0] if len(made) == 1 else b"".join(made)

    def _close(self) -> None:
        answer, self._answer, self._chunks = self._answer, (), iter(())
        close = getattr(answer, "close", None)
        if close is not None:
            close()

    def _start(self, status: str, headers: list[tuple[str, str]], exc_info: Any = None) -> Callable[[bytes], object]:
        self.status = int(status.partition(" ")[0])
        self.headers = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
        return _no_write


def _no_write(_data: bytes) -> None:
    raise NotImplementedError("the write() of PEP 3333 is not supported; return an iterable")
