"""Forward a TCP address to a server that can be changed, as a failover does. Open connections keep their server."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from enum import Enum, auto
from types import TracebackType


class Loss(Enum):
    """When a COMMIT is lost, together with its connection."""

    BEFORE = auto()
    """Before the server receives it."""
    AFTER = auto()
    """After the server commits: only the answer is lost."""


class Forwarder:
    """Forwards connections on a free loopback port to `target`: a loopback port or the path of a socket."""

    def __init__(self, target: int | str) -> None:
        self.target = target
        self.commits = 0
        self.cut_on: bytes | None = None
        """The next request that contains these bytes is dropped with its connection."""
        self._losses: dict[int, Loss] = {}
        self._changing = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self) -> Forwarder:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._listener.close()
        self.cut()

    def cut(self) -> None:
        """Break all open connections."""
        with self._changing:
            sockets = list(self._open)
        for one in sockets:
            _end(one)

    def lose_commit(self, number: int, loss: Loss) -> None:
        """Lose the `number`th COMMIT from now on, counted from 1."""
        with self._changing:
            self._losses[self.commits + number] = loss

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    server = _connected(self.target)
                except OSError:
                    client.close()
                    continue
                with self._changing:
                    self._open |= {client, server}
                _Pair(self, client, server).start()

    def loss_of_this_commit(self) -> Loss | None:
        """Count a COMMIT and return how to lose it, if at all."""
        with self._changing:
            self.commits += 1
            return self._losses.pop(self.commits, None)

    def ended(self, *sockets: socket.socket) -> None:
        """Forget closed sockets."""
        with self._changing:
            self._open.difference_update(sockets)


class _Pair:
    def __init__(self, owner: Forwarder, client: socket.socket, server: socket.socket) -> None:
        self._owner = owner
        self._client = client
        self._server = server
        self._answer_is_lost = False

    def start(self) -> None:
        threading.Thread(target=self._requests, daemon=True).start()
        threading.Thread(target=self._answers, daemon=True).start()

    def _requests(self) -> None:
        with suppress(OSError):
            while data := self._client.recv(1 << 16):
                if self._owner.cut_on is not None and self._owner.cut_on in data:
                    self._owner.cut_on = None
                    break
                if b"COMMIT\0" in data:  # not READ COMMITTED
                    loss = self._owner.loss_of_this_commit()
                    if loss is Loss.BEFORE:
                        break
                    self._answer_is_lost = loss is Loss.AFTER
                self._server.sendall(data)
        self._end()

    def _answers(self) -> None:
        with suppress(OSError):
            while (data := self._server.recv(1 << 16)) and not self._answer_is_lost:
                self._client.sendall(data)
        self._end()

    def _end(self) -> None:
        self._owner.ended(self._client, self._server)
        _end(self._client)
        _end(self._server)


def _connected(target: int | str) -> socket.socket:
    if isinstance(target, int):
        return socket.create_connection(("127.0.0.1", target))
    server = socket.socket(socket.AF_UNIX)
    try:
        server.connect(target)
    except OSError:
        server.close()
        raise
    return server


def _end(one: socket.socket) -> None:
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
