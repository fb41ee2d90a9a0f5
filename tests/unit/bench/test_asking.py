"""The load generator of `python -m bench processes`, against a server that answers in pieces."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from bench.asking import asking


class Pieces:
    """Answers each request on each connection with these pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self._pieces = pieces
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self.answered = 0
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with connection:
            while connection.recv(1000):
                self.answered += 1
                for piece in self._pieces:
                    connection.sendall(piece)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture
def whole() -> Iterator[Pieces]:
    server = Pieces(b"HTTP/1.1 200 OK\r\nContent-Le", b"ngth: 5\r\n\r\n12", b"345")
    yield server
    server.close()


def test_every_answer_is_counted_once(whole):
    with asking(whole.url, "/", 3) as asker:
        asked = asker.ask(0.2)
    assert asked.answers == whole.answered >= 3
    assert asked.rate > 0


def test_an_error_ends_the_measurement():
    server = Pieces(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
    with asking(server.url, "/", 1) as asker, pytest.raises(RuntimeError, match="503"):
        asker.ask(0.2)
    server.close()
