"""All connections of a web process: how many there may be, and which one has to go when there are too many.

Only connections that wait are counted for an address: for a request, its head, or its body before the application
looks at it. A connection whose request is being answered, event streams included, is nobody's to close. When an
address has too many waiting, the newest is served and the one that has waited longest is closed: a stranger who holds
connections open holds up only connections of the same kind, and people behind the same router still get in.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol


class Connection(Protocol):
    """What the table knows of a connection."""

    address: str | None
    """What it is counted under; None for a trusted proxy, which brings connections of many."""

    @property
    def idle(self) -> bool:
        """Whether it waits without a byte of a request."""

    def evict(self) -> None:
        """Close it."""

    def check(self, now: float) -> None:
        """Close it where its client is too slow. `now` is the event loop's time in seconds."""


class Connections:
    """The connections of one event loop, which alone calls this."""

    def __init__(self, *, total: int, per_address: int) -> None:
        self._total = total
        self._per_address = per_address
        self._all: dict[Connection, None] = {}
        self._waiting: dict[str | None, dict[Connection, None]] = {}
        """In the order in which they began to wait."""

    def __len__(self) -> int:
        return len(self._all)

    def __iter__(self) -> Iterator[Connection]:
        return iter(list(self._all))

    def waiting(self, address: str | None) -> int:
        return len(self._waiting.get(address, ()))

    def add(self, connection: Connection) -> bool:
        """Take a new connection, which waits. False where there is no room and no waiting connection to close."""
        if len(self._all) >= self._total and not self._make_room():
            return False
        self._all[connection] = None
        self.wait(connection)
        return True

    def wait(self, connection: Connection) -> None:
        """Count a connection as waiting from now on."""
        if connection not in self._all:
            return
        of_address = self._waiting.setdefault(connection.address, {})
        of_address.pop(connection, None)
        of_address[connection] = None
        if connection.address is not None and len(of_address) > self._per_address:
            self._evict(connection.address)

    def work(self, connection: Connection) -> None:
        """The connection waits no more: its request is being answered."""
        of_address = self._waiting.get(connection.address)
        if of_address is not None:
            of_address.pop(connection, None)
            if not of_address:
                del self._waiting[connection.address]

    def remove(self, connection: Connection) -> None:
        self.work(connection)
        self._all.pop(connection, None)

    def evict_waiting(self) -> None:
        """Close every connection that waits."""
        for address in list(self._waiting):
            while self._waiting.get(address):
                self._evict(address)

    def sweep(self, now: float) -> None:
        """Let each connection look after its deadlines."""
        for connection in list(self._all):
            connection.check(now)

    def _make_room(self) -> bool:
        """Close a waiting connection of the address that has most of them."""
        if not self._waiting:
            return False
        self._evict(max(self._waiting, key=lambda address: len(self._waiting[address])))
        return True

    def _evict(self, address: str | None) -> None:
        """Close one that has sent nothing if there is one, else the one that has waited longest."""
        of_address = self._waiting[address]
        victim = next((one for one in of_address if one.idle), None) or next(iter(of_address))
        self.work(victim)
        victim.evict()
