"""What a connection to the catalogue is taken for, which decides how its transaction begins."""

from __future__ import annotations

from enum import Enum, auto


class Access(Enum):
    """A kind of transaction."""

    ONE_QUERY = auto()
    """A single query, which sees one snapshot without a transaction around it."""
    SNAPSHOT = auto()
    """Several queries that see the same snapshot."""
    WRITE = auto()
    """Changes that are on disk once they are committed."""
    WRITE_RELAXED = auto()
    """Changes that a power cut shortly after may undo."""

    @property
    def writes(self) -> bool:
        return self in (Access.WRITE, Access.WRITE_RELAXED)
