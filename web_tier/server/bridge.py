"""Runs a WSGI application behind gunicorn's ASGI protocol, so that slow clients hold no thread.

1. A request without a body, or with a small one, goes to a thread when all of it is there.
2. One whose body is still coming goes to a thread for a first look. Most refusals (no key, no such batch, too large)
   need no body, and are answered at once. Where the application begins to read, the look is broken off.
3. Then the event loop gathers the body, up to `_AHEAD` bytes, and the application runs in earnest.
4. A body that is larger is read while it comes. That holds a thread for as long as the client sends, so only some
   threads may do it, and the connection's deadlines see to it that the client keeps sending.

Answers are made in portions, and a thread makes the next one when the client has taken the last.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from web_tier.server.body import BodyNeeded
from web_tier.server.environ import environ_of
from web_tier.server.exchange import Application, Exchange
from web_tier.server.request import KEPT, Receive, Request
from web_tier.server.streams import EventStream, Streams
from web_tier.server.threads import Threads

_SMALL = 64 * 1024
_AHEAD = 1 << 20
_GATHERED = 64 << 20
"""Bytes of all bodies that are gathered at most; beyond it threads read them as they come."""
_MOMENT_S = 0.05
"""A body that comes within it costs no first look."""

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Bridge:
    """`threads` run the application, of which `readers` at most read bodies that are still coming."""

    def __init__(self, application: Application, threads: Threads, streams: Streams, *, readers: int) -> None:
        self._application = application
        self._threads = threads
        self._streams = streams
        self._readers = asyncio.Semaphore(readers)
        self._gathered = 0

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        request = Request(scope, receive, self._threads.moved)
        if not request.has_body:
            request.body.whole = True
        elif request.length > _SMALL or request.chunked:
            await self._gather_soon(request)
        else:
            await self._gather(request, _SMALL)
        if not request.body.whole and request.failed is None:
            await self._look(request, send)
        elif not request.connection.gone:
            await self._answer(request, send)

    async def _look(self, request: Request, send: Send) -> None:
        """Answer without the body if the application can, else with as much of it as may be gathered."""
        request.body.peeking = True
        if await self._answer(request, send):
            return
        request.body.peeking = False
        request.connection.await_body()
        await self._gather(request, _AHEAD)
        if request.body.whole or request.failed is not None:
            await self._answer(request, send)
            return
        async with self._readers:
            await self._answer(request, send)

    async def _gather_soon(self, request: Request) -> None:
        """Gather a body that is all but there. Who waits for leave to send it (Expect) is not given it yet."""
        if request.length <= _AHEAD and not request.connection.receiver.expect_continue:
            with suppress(TimeoutError):
                async with asyncio.timeout(_MOMENT_S):
                    await self._gather(request, _AHEAD)

    async def _gather(self, request: Request, most: int) -> None:
        """Hold the body up to `most` bytes, as long as all bodies together are not too much."""
        before = request.body.held
        counted = 0
        try:
            while self._gathered < _GATHERED and await request.gather(most):
                self._gathered += request.body.held - before - counted
                counted = request.body.held - before
        finally:
            self._gathered -= counted

    async def _answer(self, request: Request, send: Send) -> bool:
        """Run the application and send its answer; False where it needs the body for that."""
        connection = request.connection
        if connection.gone:
            return True
        connection.begin_answer()
        environ = environ_of(request.scope) | {KEPT: request.kept}
        exchange = Exchange(self._application, environ, contextvars.copy_context())
        try:
            try:
                portion = await self._threads.run(lambda: exchange.begin(request.body))
            except BodyNeeded:
                return False
            await send(request.start(exchange.status, exchange.headers))
            if exchange.stream is not None:
                await self._follow(exchange.stream, request, send)
            while exchange.stream is None and not exchange.done and not connection.gone:
                await send({"type": "http.response.body", "body": portion, "more_body": True})
                portion = await self._threads.run(exchange.go_on)
            await send({"type": "http.response.body", "body": portion})
            return True
        finally:
            if not exchange.done:
                self._threads.begin(exchange.close)

    async def _follow(self, stream: EventStream, request: Request, send: Send) -> None:
        """Send events until the stream ends or its reader leaves."""
        connection, task = request.connection, asyncio.current_task()
        connection.on_lost = lambda: task is not None and task.cancel()
        told = b" "
        try:
            while not stream.ended and not connection.left:
                told = await self._streams.step(stream, soon=bool(told))
                if told:
                    await send({"type": "http.response.body", "body": told, "more_body": True})
        finally:
            connection.on_lost = None
            self._streams.close(stream)
