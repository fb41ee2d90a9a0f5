"""What the web processes of one host share. Decision 51 has a table of all the state of a process."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from config.settings import WebSettings
from web_tier.server.host_memory import HostLock, HostMemory, Record, Seats, Tally
from web_tier.server.host_tables import AddressCounts, LevelTable


@dataclass(frozen=True)
class Host:
    """Made before the processes are forked."""

    memory: HostMemory
    connections: Tally
    """Open connections."""
    waiting: AddressCounts
    """Connections that wait, by address."""
    streams: Seats
    """Event streams."""
    requests: LevelTable
    """Token buckets of keys."""
    wrong_keys: LevelTable
    """Token buckets of addresses."""
    thumbnail: HostLock
    """Held by the one thread that makes a thumbnail."""
    fleet: Record[Any]
    """The state of the fleet's view."""
    lines_dropped: Tally
    """Lines that could not be written to the log."""

    @staticmethod
    def create(web: WebSettings) -> Host:
        """Return what `web.processes` processes share."""
        memory = HostMemory(web.processes)
        return Host(
            memory=memory,
            connections=memory.tally(),
            waiting=AddressCounts(memory),
            streams=Seats(web.streams, memory),
            requests=LevelTable(memory),
            wrong_keys=LevelTable(memory),
            thumbnail=memory.lock(),
            fleet=Record(memory),
            lines_dropped=memory.tally(),
        )
