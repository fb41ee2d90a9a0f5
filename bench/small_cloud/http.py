"""A server of HTTP/1.1 for clients on loopback: keep-alive, `Expect: 100-continue`, chunked and aws-chunked bodies.

It reads one request of a connection at a time, which is how S3's clients use a connection.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import cast
from urllib.parse import unquote

_END_OF_HEAD = b"\r\n\r\n"
_SEND_BUFFER = 1 << 20
"""Bytes that the kernel takes at once, so that an answer with an image is one system call."""
_REASONS = {
    100: "Continue",
    200: "OK",
    204: "No Content",
    206: "Partial Content",
    304: "Not Modified",
    400: "Bad Request",
    404: "Not Found",
    412: "Precondition Failed",
    501: "Not Implemented",
    503: "Service Unavailable",
}


@dataclass(slots=True)
class Request:
    """A complete request. Names of headers are in lower case; `path` is decoded, `query` is not."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes = b""
    arrived: float = 0.0
    """Of the event loop's clock."""


Respond = Callable[[bytes, bool], None]
"""Takes an answer, head and body, and whether to close the connection after it. An empty one only closes."""


def answer(status: int, headers: Mapping[str, str] | None = None, body: bytes = b"", *, length: int = -1) -> bytes:
    """Return an answer's bytes. `length` is the announced length if it differs from that of `body` (HEAD)."""
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items()) if headers else ""
    size = len(body) if length < 0 else length
    return f"HTTP/1.1 {status} {_REASONS[status]}\r\n{more}Content-Length: {size}\r\n\r\n".encode() + body


class BadRequest(Exception):
    """The bytes of a client are not HTTP as it is understood here."""


@dataclass(slots=True)
class _Chunks:
    """The framing of a chunked body, decoded as its bytes arrive."""

    body: bytearray = field(default_factory=bytearray)
    is_last: bool = False
    """Whether the chunk of length 0 was read: only trailers follow."""

    def take(self, buffer: bytearray) -> bool:
        """Move complete chunks out of `buffer`. Return whether the body is complete."""
        while True:
            end = buffer.find(b"\r\n")
            if end < 0:
                return False
            if self.is_last:  # a trailer, or the empty line after all of them
                del buffer[: end + 2]
                if not end:
                    return True
                continue
            size = int(bytes(buffer[:end]).partition(b";")[0], 16)
            if size == 0:
                self.is_last = True
                del buffer[: end + 2]
                continue
            start = end + 2
            if len(buffer) < start + size + 2:
                return False
            self.body += buffer[start : start + size]
            del buffer[: start + size + 2]


class Connection(asyncio.Protocol):
    """One client's connection. `handle` gets each request and a function that takes its answer, now or later."""

    def __init__(self, handle: Callable[[Request, Respond], None]) -> None:
        self._handle = handle
        self._buffer = bytearray()
        self._request: Request | None = None  # its head has arrived, its body not yet
        self._length = 0
        self._chunks: _Chunks | None = None
        self._answering = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        found: socket.socket = transport.get_extra_info("socket")
        found.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._answering:
            self._read()

    def _read(self) -> None:
        try:
            complete = self._read_head() and self._read_body()
        except (BadRequest, ValueError):
            self._transport.write(answer(400))
            self._transport.close()
            return
        if complete:
            request = cast(Request, self._request)
            self._request = None
            self._answering = True
            self._handle(request, self._respond)

    def _read_head(self) -> bool:
        """Read a request's head unless it was read before. Return whether there is one."""
        if self._request is not None:
            return True
        end = self._buffer.find(_END_OF_HEAD)
        if end < 0:
            return False
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + len(_END_OF_HEAD)]
        headers: dict[str, str] = {}
        for line in lines:
            name, _, value = line.partition(":")
            headers[name.lower()] = value.strip()
        words = first.split(" ")
        if len(words) != 3:
            raise BadRequest(first)
        path, _, query = words[1].partition("?")
        self._request = Request(words[0], unquote(path) if "%" in path else path, query, headers)
        self._length = int(headers.get("content-length", 0))
        self._chunks = _Chunks() if headers.get("transfer-encoding", "").lower() == "chunked" else None
        if "expect" in headers and len(self._buffer) < max(1, self._length):
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        return True

    def _read_body(self) -> bool:
        """Read the body as far as it has arrived. Return whether it is complete."""
        request = cast(Request, self._request)
        if self._chunks is not None:
            if not self._chunks.take(self._buffer):
                return False
            request.body = bytes(self._chunks.body)
        elif self._length:
            if len(self._buffer) < self._length:
                return False
            request.body = bytes(self._buffer[: self._length])
            del self._buffer[: self._length]
        if "aws-chunked" in request.headers.get("content-encoding", ""):
            inner = _Chunks()
            inner.take(bytearray(request.body + b"\r\n"))  # the last line break may be left out
            request.body = bytes(inner.body)
        return True

    def _respond(self, data: bytes, close: bool) -> None:
        if self._transport.is_closing():
            return
        if data:
            self._transport.write(data)
        if close:
            self._transport.close()
            return
        self._answering = False
        if self._buffer:
            self._read()
