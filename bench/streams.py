"""Readers of a batch's event stream: they hold their connections open and take in whatever comes."""

from __future__ import annotations

import selectors
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

_READ = 1 << 20


@dataclass
class Readers:
    """What all of them together have got so far."""

    events: int = 0
    ended: int = 0


@contextmanager
def readers(url: str, batch_id: str, count: int, *, after: int = 0) -> Iterator[Readers]:
    """`count` connections to the events of a batch, beyond the change number `after`; one thread serves them all."""
    host, port = urlsplit(url).hostname or "", urlsplit(url).port or 80
    request = (
        f"GET /api/v1/batches/{batch_id}/events HTTP/1.1\r\nHost: {host}:{port}\r\n"
        f"Last-Event-ID: {after}\r\nAccept: text/event-stream\r\n\r\n"
    ).encode()
    found = Readers()
    stopping = threading.Event()
    with ExitStack() as stack, selectors.DefaultSelector() as selector:
        for _ in range(count):
            connection = stack.enter_context(socket.create_connection((host, port)))
            connection.sendall(request)
            connection.setblocking(False)
            selector.register(connection, selectors.EVENT_READ)
        thread = threading.Thread(target=_read, args=(selector, found, stopping))
        thread.start()
        try:
            yield found
        finally:
            stopping.set()
            thread.join()


def _read(selector: selectors.BaseSelector, found: Readers, stopping: threading.Event) -> None:
    while not stopping.is_set():
        for key, _ in selector.select(0.1):
            connection = key.fileobj
            assert isinstance(connection, socket.socket)
            data = connection.recv(_READ)
            found.events += data.count(b"\nevent: ")
            if not data:
                selector.unregister(connection)
                found.ended += 1
