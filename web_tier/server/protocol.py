"""One connection: gunicorn's HTTP parser on asyncio, with deadlines, and a close that lets the answer arrive.

A connection is in one of five phases. Only `ANSWER` may hold a thread.

1. `IDLE`: no byte of a request has come. Closed after a while, or by `connections` when others need the room.
2. `HEAD`: a part of a request's head has come. All of it must come within `head_s`.
3. `BODY`: the head is complete, and the application does not run yet. The body must make progress.
4. `ANSWER`: the application runs. Body and answer must make progress.
5. `LINGER`: the answer was sent before the whole request was read. Whatever still comes is discarded for a moment. To
   close at once would reset the connection, and the client might never see the answer (RFC 9112, section 9.6).
"""

from __future__ import annotations

import array
import asyncio
import enum
import fcntl
import socket
import termios
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from gunicorn.asgi.protocol import ASGIProtocol, BodyReceiver

from web_tier.server.client_address import Proxies, counted_as
from web_tier.server.connections import Connections

_LINGER_S, _LINGER_QUIET_S = 30.0, 5.0
_PROXY_KEEPALIVE_S = 330
"""Longer than a load balancer keeps a connection. Otherwise it might send a request into one that is being closed."""


class Progress:
    """A transfer that must move `at_least` bytes within every `span_s` seconds; otherwise it is stuck, not slow.

    A pause of up to `span_s` is allowed, and a large transfer over a slow line may take as long as it needs. A limit of
    the total time would cut off honest clients, too.
    """

    def __init__(self, span_s: float, at_least: float) -> None:
        self._span_s = span_s
        self._at_least = at_least
        self._begun: float | None = None
        self._bytes = 0
        self.moved = 0
        """All bytes that the transfer has moved so far."""

    def rest(self) -> None:
        """Stop measuring. The next call of `stuck` begins a new span."""
        self._begun = None

    def stuck(self, now: float, pending: int = 0) -> bool:
        """Return whether too little moved in this span, without `pending` bytes of `moved`. `now` is in seconds."""
        moved = self.moved - pending
        if self._begun is None or moved - self._bytes >= self._at_least:
            self._begun, self._bytes = now, moved
            return False
        return now - self._begun > self._span_s


class Phase(enum.Enum):
    """The phase of a connection; see the module."""

    IDLE = enum.auto()
    HEAD = enum.auto()
    BODY = enum.auto()
    ANSWER = enum.auto()
    LINGER = enum.auto()


@dataclass(frozen=True, slots=True)
class Deadlines:
    """Limits in seconds, and in bytes/s of a body. At most `linger_bytes` of a refused body are read and discarded."""

    head_s: float
    stall_s: float
    slowest_bytes_per_s: float
    send_stall_s: float
    linger_bytes: int


class Receiver(BodyReceiver):  # type: ignore[misc]  # gunicorn brings no types
    """Gunicorn's receiver, without its own timeout: the connection's deadlines decide how long it waits."""

    async def _wait_for_data(self) -> None:
        if self._chunks or self._complete or self._disconnected:
            return
        arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiter: asyncio.Future[None] | None = arrived
        try:
            await arrived
        finally:
            self._waiter = None

    @property
    def whole(self) -> bool:
        """Whether the whole body has come."""
        return bool(self._complete)

    def give_up(self) -> None:
        """Stop waiting for the body; the connection stays open for an answer."""
        self._body_wait_expired = True
        self._wake_waiter()


class GuardedProtocol(ASGIProtocol):  # type: ignore[misc]  # gunicorn brings no types
    """The connection of one client."""

    def __init__(self, worker: Any, connections: Connections, deadlines: Deadlines, proxies: Proxies) -> None:
        super().__init__(worker)
        self._connections = connections
        self._deadlines = deadlines
        self._proxies = proxies
        self.address: str | None = None
        self.phase = Phase.IDLE
        self.timed_out = False
        """Whether the body came too slowly."""
        self.must_close = False
        """Whether the end of the connection marks the end of the answer, which has no length. `Request` sets it."""
        self.on_lost: Callable[[], object] | None = None
        self._since = 0.0
        """When the phase began; in HEAD, when the wait for the head began."""
        self._half_closed = False
        self._quiet_since = 0.0
        self._incoming = Progress(deadlines.stall_s, deadlines.stall_s * deadlines.slowest_bytes_per_s)
        self._outgoing = Progress(deadlines.send_stall_s, 1)

    # --- used by connections, bridge and request --------------------------------------------------------

    @property
    def idle(self) -> bool:
        return self.phase is Phase.IDLE

    @property
    def gone(self) -> bool:
        """Whether the connection is closed, so that nobody will read an answer."""
        return bool(self._closed)

    @property
    def left(self) -> bool:
        """Whether the client has closed its half or all of the connection. A reader of a stream does neither."""
        return self._half_closed or self.gone

    @property
    def receiver(self) -> Receiver:
        """The body receiver of the current request."""
        receiver: Receiver = self._body_receiver
        return receiver

    def begin_answer(self) -> None:
        """Enter ANSWER: the application runs."""
        self._enter(Phase.ANSWER)
        self._connections.work(self)

    def await_body(self) -> None:
        """Return to BODY: the application does not run before more of the body is there."""
        self._enter(Phase.BODY)
        self._connections.wait(self)

    def evict(self) -> None:
        self._hang_up()

    def check(self, now: float) -> None:
        """Close the connection, or stop waiting for its body, if its client is too slow."""
        if self.phase is Phase.LINGER:
            if now - self._quiet_since > _LINGER_QUIET_S or now - self._since > _LINGER_S:
                self.transport.abort()
            return
        if self._answer_is_stuck(now):
            self.log.debug("a client did not read its answer")
            self.transport.abort()
        elif self.phase in (Phase.IDLE, Phase.HEAD):
            if now - self._since > self._deadlines.head_s and not self._keepalive_handle:
                self._head_is_late()
        elif self._body_is_stuck(now):
            self.timed_out = True
            self.receiver.give_up()

    # --- called by asyncio and gunicorn ------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        peer = transport.get_extra_info("peername")
        host = peer[0] if isinstance(peer, tuple) else ""
        self.address = counted_as(host)
        if self._proxies.trust(host):
            self.address = None
            self._keepalive = _PROXY_KEEPALIVE_S
        self._since = self.worker.loop.time()
        super().connection_made(transport)
        if not self._connections.add(self):
            transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.remove(self)
        super().connection_lost(exc)
        if self._flow_control is not None:
            self._flow_control.resume_writing()  # wakes a writer, which then finds the connection closed
        if self._request_ready is not None:
            self._request_ready.set()
        if self.on_lost is not None:
            self.on_lost()

    def data_received(self, data: bytes) -> None:
        self._quiet_since = self.worker.loop.time()
        self._incoming.moved += len(data)
        if self.phase is Phase.LINGER:
            if self._incoming.moved > self._deadlines.linger_bytes:
                self.transport.abort()
            return
        if self.phase is Phase.IDLE:
            self._cancel_keepalive_timer()
            self._enter(Phase.HEAD)
        super().data_received(data)

    def _feed_callback_parser(self, data: bytes) -> bool:
        """Pass a piece of a body on as it is: the parser would copy it twice."""
        parser = self._callback_parser
        if parser._state == "body" and not parser._buffer and len(data) <= parser._body_remaining:
            parser._body_remaining -= len(data)
            parser._on_body(data)
            if not parser._body_remaining:
                parser._state, parser.is_complete = "complete", True
                parser._on_message_complete()
            return True
        going_on: bool = super()._feed_callback_parser(data)
        return going_on

    def eof_received(self) -> bool:
        """Keep the connection of a client that closed its half after a whole request: it still reads the answer."""
        self._half_closed = True
        receiver = self._body_receiver
        return self.phase in (Phase.BODY, Phase.ANSWER) and receiver is not None and receiver.whole

    def _on_headers_complete(self) -> bool:
        skip: bool = super()._on_headers_complete()
        self._body_receiver = Receiver(self._current_request, self)
        self.must_close = self.timed_out = False
        self._enter(Phase.BODY)
        return skip

    def _is_websocket_upgrade(self, request: Any) -> bool:
        return False  # a server ignores an upgrade it does not offer (RFC 9110, section 7.8)

    def _build_http_scope(self, request: Any, sockname: Any, peername: Any) -> dict[str, Any]:
        scope: dict[str, Any] = super()._build_http_scope(request, sockname, peername)
        scope["tagfleet.connection"] = self
        return scope

    def _will_close(self, request: Any, response_requires_close: bool) -> bool:
        """Also close a connection whose request was not read to its end: the rest would look like the next request."""
        unread = self._body_receiver is not None and not self._body_receiver.whole
        return unread or self._half_closed or self.must_close or super()._will_close(request, response_requires_close)

    def _arm_keepalive_timer(self) -> None:
        """Wait for the next request after a complete answer. A part of it may have come already."""
        self._enter(Phase.HEAD if self._parsing() else Phase.IDLE)
        self._connections.wait(self)
        if self.phase is Phase.IDLE:
            super()._arm_keepalive_timer()

    def _keepalive_timeout(self) -> None:
        self._keepalive_handle = None
        super()._keepalive_timeout()

    def _safe_write(self, data: bytes) -> None:
        self._outgoing.moved += len(data)
        super()._safe_write(data)

    def _send_body(self, body: bytes, chunked: bool = False, last: bool = False, size: int | None = None) -> None:
        self._outgoing.moved += len(self._response_buffer or b"") + len(body)
        super()._send_body(body, chunked, last, size)

    def _close_transport(self) -> None:
        if self._closed or self.transport is None:
            return
        half_read = self.phase is Phase.HEAD or (self._body_receiver is not None and not self._body_receiver.whole)
        if not half_read or self._half_closed:
            super()._close_transport()
            return
        self._linger()
        self._incoming.moved = 0
        self._connections.wait(self)
        if self._body_receiver is not None:
            self._body_receiver.signal_disconnect()
        with suppress(OSError, RuntimeError):
            self.transport.write_eof()
        self._resume_reading()

    # --- private ------------------------------------------------------------------------------

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self._since = self.worker.loop.time()

    def _parsing(self) -> bool:
        """Return whether the parser holds the beginning of a request."""
        parser = self._callback_parser
        return bool(
            parser is not None and not parser.is_complete and (parser.method or getattr(parser, "_buffer", b""))
        )

    def _linger(self) -> None:
        self._closed = True
        self._enter(Phase.LINGER)
        self._quiet_since = self._since

    def _hang_up(self) -> None:
        """Close the connection. What was written is still sent if the client reads it soon."""
        self._linger()
        self.transport.close()
        if self._request_ready is not None:
            self._request_ready.set()

    def _head_is_late(self) -> None:
        if self.phase is Phase.HEAD:
            self._send_error_response(408, "The head of this request did not come in time.")
        self._hang_up()

    def _body_is_stuck(self, now: float) -> bool:
        receiver = self._body_receiver
        if receiver is None or receiver.whole or receiver.expect_continue or self._reading_paused:
            self._incoming.rest()  # the client has nothing to send now
            return False
        return not self.timed_out and self._incoming.stuck(now)

    def _answer_is_stuck(self, now: float) -> bool:
        held = self.transport.get_write_buffer_size()
        if not held:
            self._outgoing.rest()
            return False
        return self._outgoing.stuck(now, pending=held + self._in_kernel())

    def _in_kernel(self) -> int:
        """Return the bytes that the client has not acknowledged: the kernel may buffer megabytes of an answer."""
        connection: socket.socket | None = self.transport.get_extra_info("socket")
        count = array.array("i", [0])
        with suppress(OSError, ValueError):
            if connection is not None:
                fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, count)
        return count[0]
