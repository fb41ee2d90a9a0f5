"""One request as the event loop holds it: its connection, its body as far as it has come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from web_tier.server.body import Body, BodyTooSlow, ClientGone
from web_tier.server.protocol import GuardedProtocol

Receive = Callable[[], Awaitable[dict[str, Any]]]


KEPT = "tagfleet.kept"
"""In a request's environment: what one run of the application leaves to the next run for the same request."""


class Request:
    """`moved` is told when bytes came for a thread."""

    def __init__(self, scope: dict[str, Any], receive: Receive, moved: Callable[[], None]) -> None:
        self.scope = scope
        self.connection: GuardedProtocol = scope["tagfleet.connection"]
        self.body = Body(self._more_in_thread)
        self.kept: dict[str, Any] = {}
        """For the application; see `KEPT`."""
        self.failed: ClientGone | BodyTooSlow | None = None
        """Why there is no more of the body."""
        self._receive = receive
        self._moved = moved
        self._loop = asyncio.get_running_loop()
        self._ended = False
        fields = dict(scope["headers"])
        self.chunked = b"transfer-encoding" in fields
        self.length = int(fields.get(b"content-length", b"0"))
        """Of the body, in bytes; 0 where it is chunked."""

    @property
    def has_body(self) -> bool:
        return self.chunked or self.length > 0

    async def gather(self, most: int) -> bool:
        """Wait for the next bytes of the body; False where there are none to wait for, or `most` are held.

        What goes wrong is raised when the body is read.
        """
        body, receiver = self.body, self.connection.receiver
        if body.whole or body.held >= most or self.failed is not None:
            return False
        try:
            chunk = await self._more()
        except (ClientGone, BodyTooSlow) as error:
            self.failed = error
            return False
        body.feed(chunk)
        body.whole = self._ended or (receiver.whole and not receiver.buffered)
        return True

    def start(self, status: int, headers: list[tuple[bytes, bytes]]) -> dict[str, Any]:
        """The message that begins the answer."""
        if self.scope["http_version"] == "1.0" and not any(name.lower() == b"content-length" for name, _ in headers):
            self.connection.must_close = True  # an HTTP/1.0 client finds the end of this answer by nothing else
        return {"type": "http.response.start", "status": status, "headers": headers}

    async def _more(self) -> bytes:
        """The next bytes of the body; none at its end. Raises ClientGone, BodyTooSlow."""
        if self._ended:
            return b""
        message = await self._receive()
        if message["type"] == "http.disconnect":
            raise BodyTooSlow if self.connection.timed_out else ClientGone
        self._ended = not message["more_body"]
        return bytes(message["body"])

    def _more_in_thread(self) -> bytes:
        if self.failed is not None:
            raise self.failed
        chunk = asyncio.run_coroutine_threadsafe(self._more(), self._loop).result()
        self._moved()
        return chunk
