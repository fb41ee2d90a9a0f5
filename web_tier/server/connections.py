"""All connections of a web process: how many there may be, and which are closed when there are too many.

Only waiting connections count towards the limit of an address: they wait for a request, for its head, or for its
body before the application runs. A connection whose request is being answered is never closed for others, and that
includes event streams. If too many connections of an address wait, new ones are accepted and the longest-waiting
ones are closed. So a client that holds connections open loses its own, and people behind the same router still
get in.

Several processes of one host share both limits. A process that finds too many connections closes its own. Of those that
wait for one address it closes as many as are its part: half of them, if half of those that wait are its own. Each
process always takes its part of all connections: if others have more than theirs, they close waiting ones within a
second. So nobody who fills one process keeps newcomers from another.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import Protocol

from web_tier.server.host import Host

_SETTLED_S = 2.0
"""A connection that has waited for less stays open: in a burst of connections the requests are on their way."""


class Connection(Protocol):
    """The part of a connection that `Connections` uses."""

    address: str | None
    """The name under which it is counted; None for a trusted proxy, which has connections of many clients."""

    @property
    def idle(self) -> bool:
        """Whether it waits and no byte of a request has come."""

    def evict(self) -> None:
        """Close it."""

    def check(self, now: float) -> None:
        """Close it if its client is too slow. `now` is the event loop's time in seconds."""


class Connections:
    """The connections of one event loop, which alone calls this. `clock` is the loop's, in seconds.

    `total` and `per_address` are the limits of `host`, `most` is that of this process.
    """

    def __init__(self, *, total: int, most: int, per_address: int, host: Host, clock: Callable[[], float]) -> None:
        self._total = total
        self._most = most
        self._per_address = per_address
        self._host = host
        self._clock = clock
        self._all: dict[Connection, None] = {}
        self._waiting: dict[str | None, dict[Connection, float]] = {}
        """By address: waiting connections in the order in which they began to wait, and when."""

    def __len__(self) -> int:
        return len(self._all)

    @property
    def _part(self) -> int:
        """The connections that this process may have whatever others have."""
        return self._host.memory.share(self._total)

    @property
    def _excess(self) -> int:
        """How many connections all processes have beyond the limit; negative if more are allowed."""
        return self._host.connections.total - self._total

    def add(self, connection: Connection) -> bool:
        """Add a new connection, which waits; return False if there is no room and no waiting connection to close."""
        full = len(self._all) >= self._most or (self._excess >= 0 and len(self._all) >= self._part)
        if full and not self._make_room():
            return False
        self._all[connection] = None
        self._host.connections.own = len(self._all)
        self.wait(connection)
        return True

    def wait(self, connection: Connection) -> None:
        """Count a connection as waiting from now on."""
        if connection in self._all:
            self.work(connection)
            self._waiting.setdefault(connection.address, {})[connection] = self._clock()

    def work(self, connection: Connection) -> None:
        """Count a connection as busy: its request is being answered."""
        of_address = self._waiting.get(connection.address)
        if of_address is not None:
            of_address.pop(connection, None)
            if not of_address:
                del self._waiting[connection.address]

    def remove(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        self.work(connection)
        self._all.pop(connection, None)
        self._host.connections.own = len(self._all)

    def close_waiting(self) -> None:
        """Close all waiting connections."""
        for of_address in list(self._waiting.values()):
            self._evict(list(of_address))

    def sweep(self) -> None:
        """Enforce the limit of each address, this process's part of all, and the deadlines of each connection."""
        now = self._clock()
        for _ in range(min(self._excess, len(self._all) - self._part)):
            self._make_room()
        waiting = {address: len(of) for address, of in self._waiting.items() if address is not None}
        for address, surplus in self._host.waiting.surpluses(waiting, self._per_address).items():
            of_address = self._waiting[address]
            settled = [one for one, since in of_address.items() if now - since >= _SETTLED_S]
            settled.sort(key=lambda one: not one.idle)  # idle ones first, and of each kind the oldest
            self._evict(settled[:surplus])
        for connection in list(self._all):
            connection.check(now)

    def _make_room(self) -> bool:
        """Close the longest waiting connection of the address that has most of them."""
        if not self._waiting:
            return False
        most = max(self._waiting.values(), key=len)
        self._evict(list(islice(most, 1)))
        return True

    def _evict(self, victims: list[Connection]) -> None:
        for victim in victims:
            self.work(victim)
            victim.evict()
