"""Run a WSGI application behind gunicorn's ASGI protocol, so that slow clients hold no thread.

1. A request without a body, or with a small one, goes to a thread once all of it is there.
2. A request whose body is still coming goes to a thread for a trial run. Most refusals (no key, no such batch, too
   large) need no body, and are answered at once. When the application begins to read the body, the trial is aborted.
3. Then the event loop gathers the body, up to `_AHEAD` bytes, and the application runs again.
4. A larger body is read while it comes. That holds a thread for as long as the client sends, so only some threads may
   do it, and the connection's deadlines make sure that the client keeps sending.

Answers are made in portions. A thread makes the next portion when the client has taken the previous one.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from web_tier.server.body import BodyNeeded
from web_tier.server.environ import build_environ
from web_tier.server.exchange import Application, Exchange
from web_tier.server.request import KEPT, Receive, Request
from web_tier.server.streams import EventStream, Streams
from web_tier.server.threads import Threads

_SMALL = 64 * 1024
_AHEAD = 4 << 20
_MOMENT_S = 0.05
"""A body that comes within this time needs no trial run."""

Send = Callable[[dict[str, Any]], Awaitable[None]]


class Bridge:
    """`threads` run the application. At most `readers` of them read bodies that are still coming.

    `most_gathered` limits the bytes of all bodies being gathered; beyond it, threads read bodies as they come.
    """

    def __init__(
        self, application: Application, threads: Threads, streams: Streams, *, readers: int, most_gathered: int
    ) -> None:
        self._application = application
        self._threads = threads
        self._streams = streams
        self._readers = asyncio.Semaphore(readers)
        self._most_gathered = most_gathered
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
            await self._try_without_body(request, send)
        elif not request.connection.gone:
            await self._answer(request, send)

    async def _try_without_body(self, request: Request, send: Send) -> None:
        """Answer without the body if the application can; otherwise gather the body first."""
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
        """Gather a body that comes at once. Does not yet tell a client that expects a 100 (Continue) to send it."""
        if request.length <= _AHEAD and not request.connection.receiver.expect_continue:
            with suppress(TimeoutError):
                async with asyncio.timeout(_MOMENT_S):
                    await self._gather(request, _AHEAD)

    async def _gather(self, request: Request, most: int) -> None:
        """Gather the body up to `most` bytes, while all gathered bodies together are not too large."""
        before = request.body.held
        counted = 0
        try:
            while self._gathered < self._most_gathered and await request.gather(most):
                self._gathered += request.body.held - before - counted
                counted = request.body.held - before
        finally:
            self._gathered -= counted

    async def _answer(self, request: Request, send: Send) -> bool:
        """Run the application and send its answer; return False if it needs the body for that."""
        connection = request.connection
        if connection.gone:
            return True
        connection.begin_answer()
        environ = build_environ(request.scope) | {KEPT: request.kept}
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
                portion = await self._threads.run(exchange.next_portion)
            await send({"type": "http.response.body", "body": portion})
            return True
        finally:
            if not exchange.done:
                self._threads.start(exchange.close)

    async def _follow(self, stream: EventStream, request: Request, send: Send) -> None:
        """Send events until the stream ends or its reader leaves."""
        connection, task = request.connection, asyncio.current_task()
        connection.on_lost = lambda: task is not None and task.cancel()
        events = b" "
        try:
            while not stream.ended and not connection.left:
                events = await self._streams.step(stream, soon=bool(events))
                if events:
                    await send({"type": "http.response.body", "body": events, "more_body": True})
        finally:
            connection.on_lost = None
            self._streams.close(stream)
