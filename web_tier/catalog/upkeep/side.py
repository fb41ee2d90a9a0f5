"""A catalogue as a whole: the operations of its upkeep that differ between SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Connection, Table
from sqlalchemy.exc import DBAPIError

from core.errors import Unavailable
from web_tier.catalog.database import Kind
from web_tier.catalog.upkeep.rows import Row


class RowRefused(Exception):
    """The target cannot store the row of this number, in the order of keys, from 1; None if that is not known."""

    def __init__(self, number: int | None, reason: str) -> None:
        super().__init__(reason)
        self.number = number


@dataclass(frozen=True, slots=True)
class Orphans:
    """So many rows of `table` belong, by its column, to rows of `owner` that are missing."""

    table: str
    column: str
    owner: str
    owner_column: str
    rows: int


@contextmanager
def translated(kind: Kind, driver_error: type[Exception], where: str = "") -> Iterator[None]:
    """Turn errors of SQLAlchemy and of the driver into Unavailable. `where` follows the name of the catalogue."""
    try:
        yield
    except (DBAPIError, driver_error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        raise Unavailable(f"catalogue {kind.place}{where}: {kind.advice(cause)}") from cause


class Side(Protocol):
    """A catalogue that is moved, filled by a move, checked or vacuumed. Its methods raise Unavailable."""

    place: str
    """The database as messages name it, without a password."""
    keeps_nul: bool
    """Whether a text may contain NUL."""

    def exists(self) -> bool:
        """Return whether the database has a catalogue, empty or not. Makes nothing."""

    def reading(self) -> AbstractContextManager[Connection]:
        """Begin a transaction that reads."""

    def writing(self) -> AbstractContextManager[Connection]:
        """Begin a transaction that writes, and commit it at the end of the block."""

    def paused(self, reason: str) -> AbstractContextManager[Connection]:
        """Keep other processes from writing during this block, a transaction. `reason` is a clause for them."""

    def damage(self, connection: Connection) -> list[str]:
        """Return a clause for each damage to the database itself. Reads all of it."""

    def index_names(self, connection: Connection) -> set[str]:
        """Return the names of all indexes."""

    def orphans(self, connection: Connection) -> list[Orphans]:
        """Return the rows that belong to a row that is missing. Reads all rows with a foreign key."""

    def read(self, connection: Connection, table: Table, *, ordered: bool) -> Iterator[Row]:
        """Yield all rows without holding them in memory, if `ordered` in the order of their keys."""

    def prepare(self) -> None:
        """Get an empty catalogue, or one that a move has begun to fill, ready for `load`. Raises TagfleetError."""

    def load(self, table: Table, rows: Iterable[Row]) -> None:
        """Replace all rows of a table, then make its indexes. Raises RowRefused for a row that cannot be stored."""

    def finish(self) -> None:
        """Make what `prepare` removed, after all tables are loaded."""

    def size(self) -> int:
        """Return how many bytes the catalogue takes on disk."""

    def vacuum(self) -> None:
        """Give unused space back. Raises TagfleetError if there is too little free space for it."""

    def close(self) -> None:
        """Close all connections."""
