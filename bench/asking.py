"""Ask a server for one path again and again over many kept connections, in one cheap thread."""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

_END = b"\r\n\r\n"
_LENGTH = b"content-length:"


@dataclass(frozen=True, slots=True)
class Asked:
    """Answers in `seconds`, and the processor time that asking took."""

    answers: int
    seconds: float
    own_cpu_s: float

    @property
    def rate(self) -> float:
        """Answers per second."""
        return self.answers / self.seconds


class Asker:
    """Connections to one server. Each asks again as soon as it has its answer."""

    def __init__(self, url: str, path: str, count: int) -> None:
        place = urlsplit(url)
        self._request = f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
        self._selector = selectors.DefaultSelector()
        self.connections = []
        for _ in range(count):
            connection = socket.create_connection((place.hostname, place.port), timeout=60)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.connections.append(connection)
            self._selector.register(connection, selectors.EVENT_READ, bytearray())

    def ask(self, seconds: float) -> Asked:
        """Ask for so long; then wait for what is still to come. Raises RuntimeError for an answer other than 200."""
        answers, waiting = 0, len(self.connections)
        cpu, began = time.process_time(), time.perf_counter()
        until = began + seconds
        for connection in self.connections:
            connection.sendall(self._request)
        while waiting:
            for key, _ in self._selector.select():
                if not _whole(key.data, key.fileobj):  # type: ignore[arg-type]  # a socket was registered
                    continue
                answers += 1
                if time.perf_counter() < until:
                    key.fileobj.sendall(self._request)  # type: ignore[union-attr]
                else:
                    waiting -= 1
        return Asked(answers, time.perf_counter() - began, time.process_time() - cpu)

    def close(self) -> None:
        """Close the connections."""
        self._selector.close()
        for connection in self.connections:
            connection.close()


@contextmanager
def asking(url: str, path: str, count: int) -> Iterator[Asker]:
    """Open `count` connections, until the block ends."""
    asker = Asker(url, path, count)
    try:
        yield asker
    finally:
        asker.close()


def _whole(held: bytearray, connection: socket.socket) -> bool:
    """Receive; return whether the answer is complete, and forget it then. Raises RuntimeError."""
    data = connection.recv(1 << 16)
    held += data
    end = held.find(_END)
    if not data or (end >= 0 and held[9:12] != b"200"):
        raise RuntimeError(f"the server answered {bytes(held[:200])!r}")
    if end < 0:
        return False
    head = bytes(held[:end]).lower()
    start = head.index(_LENGTH) + len(_LENGTH)
    length = int(head[start:].partition(b"\r\n")[0])
    if len(held) < end + len(_END) + length:
        return False
    held.clear()
    return True
