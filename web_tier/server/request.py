"""One request as the event loop sees it: its connection, and as much of its body as has come."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from web_tier.server.body import Body, BodyTooSlow, ClientGone
from web_tier.server.protocol import GuardedProtocol

Receive = Callable[[], Awaitable[dict[str, Any]]]


KEPT = "tagfleet.kept"
"""Key of a dict in the WSGI environment, which all runs of the application for one request share."""


class Request:
    """A request. Calls `moved` when bytes came for a thread that waits for them."""

    def __init__(self, scope: dict[str, Any], receive: Receive, moved: Callable[[], None]) -> None:
        self.scope = scope
        self.connection: GuardedProtocol = scope["tagfleet.connection"]
        self.body = Body(self._more_in_thread)
        self.kept: dict[str, Any] = {}
        """The dict under `KEPT`."""
        self.failed: ClientGone | BodyTooSlow | None = None
        """Why the body is incomplete, or None."""
        self._receive = receive
        self._moved = moved
        self._loop = asyncio.get_running_loop()
        self._ended = False
        fields = dict(scope["headers"])
        self.chunked = b"transfer-encoding" in fields
        self.length = int(fields.get(b"content-length", b"0"))
        """Bytes of the body; 0 if it is chunked."""

    @property
    def has_body(self) -> bool:
        """Whether the request has a body."""
        return self.chunked or self.length > 0

    async def gather(self, most: int) -> bool:
        """Wait for the next bytes of the body; return False if none are expected or `most` are held.

        An error is raised later, when the body is read.
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
        """Return the ASGI message that begins the answer."""
        if self.scope["http_version"] == "1.0" and not any(name.lower() == b"content-length" for name, _ in headers):
            self.connection.must_close = True  # an HTTP/1.0 client recognises the end of this answer only by that
        return {"type": "http.response.start", "status": status, "headers": headers}

    async def _more(self) -> bytes:
        """Return the next bytes of the body, b"" at its end. Raises ClientGone, BodyTooSlow."""
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
