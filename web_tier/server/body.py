"""The body of a request as the application reads it (`wsgi.input`): bytes that have come, then bytes still to come."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator

from werkzeug.exceptions import ClientDisconnected, RequestTimeout


class BodyNeeded(BaseException):
    """The application reads a body that is not complete. Not an Exception, so that no error handler answers it."""


class ClientGone(ClientDisconnected):
    """The client closed the connection before the end of the body."""


class BodyTooSlow(RequestTimeout):
    """The client stopped sending, or sent too slowly."""

    description = (
        "The body of this request came too slowly; an operator can change web.stall_s and web.slowest_bytes_per_s."
    )


class Body:
    """The event loop fills it until a thread takes it over, which calls `more` for the rest.

    `more` returns the next bytes, or b"" at the end; it raises ClientGone or BodyTooSlow. While `peeking` is true, the
    first read raises BodyNeeded.
    """

    def __init__(self, more: Callable[[], bytes]) -> None:
        self._more = more
        self._chunks: deque[bytes] = deque()
        self.held = 0
        """Bytes that have come and are not read yet."""
        self.whole = False
        self.peeking = False

    def feed(self, chunk: bytes) -> None:
        """Append bytes that have come."""
        if chunk:
            self._chunks.append(chunk)
            self.held += len(chunk)

    def read(self, size: int | None = -1) -> bytes:
        """Return `size` bytes, fewer only at the end of the body; without a size, the rest of the body."""
        if size == 0:
            return b""
        self._check()
        wanted = -1 if size is None else size
        while (wanted < 0 or self.held < wanted) and self._fill():
            pass
        return self._take(self.held if wanted < 0 else min(wanted, self.held))

    def read1(self, size: int = -1) -> bytes:
        """Return up to `size` bytes as they came, without waiting for more if there are some; b"" at the end."""
        if size == 0:
            return b""
        self._check()
        if not self.held and not self._fill():
            return b""
        first = len(self._chunks[0])
        return self._take(first if size < 0 else min(first, size))

    def readline(self, size: int | None = -1) -> bytes:
        self._check()
        limit = -1 if size is None else size
        line = bytearray()
        while limit < 0 or len(line) < limit:
            if not self.held and not self._fill():
                break
            chunk = self._chunks[0]
            end = chunk.find(b"\n") + 1 or len(chunk)
            line += self._take(end if limit < 0 else min(end, limit - len(line)))
            if line.endswith(b"\n"):
                break
        return bytes(line)

    def readlines(self, hint: int | None = -1) -> list[bytes]:
        return list(self)

    def __iter__(self) -> Iterator[bytes]:
        return iter(self.readline, b"")

    def _check(self) -> None:
        if self.peeking:
            raise BodyNeeded

    def _fill(self) -> bool:
        """Get more bytes; return False at the end."""
        if self.whole:
            return False
        chunk = self._more()
        self.whole = not chunk
        self.feed(chunk)
        return bool(chunk)

    def _take(self, count: int) -> bytes:
        self.held -= count
        if self._chunks and len(self._chunks[0]) == count:
            return self._chunks.popleft()
        taken = []
        while count:
            chunk = self._chunks.popleft()
            if len(chunk) > count:
                self._chunks.appendleft(chunk[count:])
                chunk = chunk[:count]
            taken.append(chunk)
            count -= len(chunk)
        return b"".join(taken)
