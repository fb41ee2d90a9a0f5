"""Hold many connections open at once, in one thread: silent ones, slow ones, and readers of event streams.

A slow member sends its request one byte a second, as an attacker would. A reader only receives.
"""

from __future__ import annotations

import itertools
import resource
import selectors
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

_DRIP_EVERY_S = 1.0
_READ = 1 << 20
HEAD = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Drip: "
_FIELDS = b"Host: localhost\r\nContent-Type: application/json\r\n"
BODY = b"POST /api/v1/session HTTP/1.1\r\n" + _FIELDS + b"Content-Length: 9000\r\n\r\n"
LARGE_BODY = BODY.replace(b"9000", b"900000")
CHUNKED_BODY = BODY.replace(b"Content-Length: 9000", b"Transfer-Encoding: chunked") + b"2328\r\n"


@dataclass(frozen=True)
class Member:
    """Sends `opening`, and then a byte a second if it `drips`."""

    opening: bytes = b""
    drips: bool = False


@dataclass
class Crowd:
    """Totals of what the members have done so far."""

    open: int = 0
    opened: int = 0
    dripped: int = 0
    received: int = 0
    """Bytes."""
    events: int = 0
    """Server-sent events."""
    answered: int = 0
    """Members that have received something."""
    _quiet: set[socket.socket] = field(default_factory=set)


def drippers(count: int) -> list[Member]:
    """Return members that slowly send a head, a body, a large body or a chunked body, in turn."""
    kinds = [Member(opening, drips=True) for opening in (HEAD, BODY, LARGE_BODY, CHUNKED_BODY)]
    return list(itertools.islice(itertools.cycle(kinds), count))


def idlers(count: int) -> list[Member]:
    """Return members that send nothing."""
    return [Member()] * count


def stream_readers(count: int, batch_id: str, key: str = "", *, after: int = 0) -> list[Member]:
    """Return members that read the events of a batch after the change number `after`."""
    fields = [
        f"GET /api/v1/batches/{batch_id}/events HTTP/1.1",
        "Host: localhost",
        f"Last-Event-ID: {after}",
        "Accept: text/event-stream",
        *([f"Authorization: Bearer {key}"] if key else []),
    ]
    return [Member("\r\n".join([*fields, "", ""]).encode())] * count


def addresses(count: int) -> list[str]:
    """Return `count` addresses of this machine's loopback, 127.0.0.1 not among them."""
    return [f"127.1.{number // 250}.{number % 250 + 1}" for number in range(count)]


def allow_files(count: int) -> None:
    """Raise this process's limit of open files to `count`, or to the hard limit if that is lower."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < count:
        resource.setrlimit(
            resource.RLIMIT_NOFILE, (count if hard == resource.RLIM_INFINITY else min(count, hard), hard)
        )


@contextmanager
def crowd(url: str, members: Sequence[Member], sources: Sequence[str] = ("127.0.0.1",)) -> Iterator[Crowd]:
    """Hold a connection for each member, from the source addresses in turn, until the block ends.

    A connection that the server closes is not opened again.
    """
    allow_files(2 * len(members) + 500)
    place = urlsplit(url).hostname or "", urlsplit(url).port or 80
    found = Crowd()
    stopping = threading.Event()
    with selectors.DefaultSelector() as selector:
        try:
            for member, source in zip(members, itertools.cycle(sources)):
                connection = socket.create_connection(place, timeout=60, source_address=(source, 0))
                with suppress(OSError):  # the server has closed it already
                    connection.sendall(member.opening)
                connection.setblocking(False)
                selector.register(connection, selectors.EVENT_READ, member)
                found._quiet.add(connection)
                found.opened += 1
            found.open = found.opened
            thread = threading.Thread(target=_hold, args=(selector, found, stopping))
            thread.start()
            try:
                yield found
            finally:
                stopping.set()
                thread.join()
        finally:
            for key in list(selector.get_map().values()):
                assert isinstance(key.fileobj, socket.socket)
                key.fileobj.close()


def _hold(selector: selectors.BaseSelector, found: Crowd, stopping: threading.Event) -> None:
    drip_at = time.monotonic()
    while not stopping.is_set():
        for key, _ in selector.select(0.1):
            assert isinstance(key.fileobj, socket.socket)
            _read(selector, found, key.fileobj)
        if time.monotonic() >= drip_at:
            drip_at = time.monotonic() + _DRIP_EVERY_S
            for key in list(selector.get_map().values()):
                if key.data.drips:
                    assert isinstance(key.fileobj, socket.socket)
                    with suppress(OSError):
                        found.dripped += key.fileobj.send(b"x")


def _read(selector: selectors.BaseSelector, found: Crowd, connection: socket.socket) -> None:
    data = b""
    with suppress(ConnectionError):
        data = connection.recv(_READ)
    found.received += len(data)
    found.events += data.count(b"\nevent: ")
    if data and connection in found._quiet:
        found._quiet.remove(connection)
        found.answered += 1
    if not data:
        selector.unregister(connection)
        connection.close()
        found.open -= 1
