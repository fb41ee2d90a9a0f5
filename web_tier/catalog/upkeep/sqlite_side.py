"""Upkeep of a catalogue in a SQLite file."""

from __future__ import annotations

import shutil
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import islice
from pathlib import Path

from sqlalchemy import URL, Connection, Table, inspect
from sqlalchemy.dialects.sqlite import dialect
from sqlalchemy.schema import CreateIndex

from core.errors import TagfleetError
from web_tier.catalog.access import Access
from web_tier.catalog.sqlite import SQLite, upkeep
from web_tier.catalog.upkeep.rows import Row, select_sql
from web_tier.catalog.upkeep.side import Orphans, RowRefused, translated

_GROUP = 10_000
"""Rows in one transaction."""
_PATIENCE_S = 60.0


class SqliteSide:
    """A `Side`. A table is loaded in several transactions, so that SQLite's log stays small."""

    keeps_nul = True

    def __init__(self, url: URL) -> None:
        self._kind = SQLite(url)
        self._path = Path(url.database or "")
        self.place = self._kind.place

    def exists(self) -> bool:
        if not self._path.exists() or not self._path.stat().st_size:
            return False
        with self.reading() as connection:
            return inspect(connection).has_table("batches")

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with self._translated(), self._kind.connect(Access.SNAPSHOT) as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        with self._translated(), self._kind.turn(), self._kind.connect(Access.WRITE) as connection:
            yield connection

    @contextmanager
    def paused(self, reason: str) -> Iterator[Connection]:
        with self.writing() as connection, upkeep(self._path, reason):
            yield connection

    def damage(self, connection: Connection) -> list[str]:
        with self._translated():
            found = connection.exec_driver_sql("PRAGMA quick_check(5)").scalars().all()
        return [str(each) for each in found if each != "ok"]

    def index_names(self, connection: Connection) -> set[str]:
        with self._translated():
            return set(connection.exec_driver_sql("SELECT name FROM sqlite_master WHERE type = 'index'").scalars())

    def orphans(self, connection: Connection) -> list[Orphans]:
        with self._translated():
            counts = Counter(
                (table, number) for table, _, _, number in connection.exec_driver_sql("PRAGMA foreign_key_check")
            )
            found = []
            for (table, number), rows in counts.items():
                keys = connection.exec_driver_sql(f'PRAGMA foreign_key_list("{table}")').all()
                (owner, column, owner_column) = next(tuple(key[2:5]) for key in keys if key[0] == number)
                found.append(Orphans(table, column, owner, owner_column, rows))
        return found

    def read(self, connection: Connection, table: Table, *, ordered: bool) -> Iterator[Row]:
        with self._translated(f", table {table.name}"):
            yield from _raw(connection).execute(select_sql(table, "sqlite", ordered=ordered))

    def prepare(self) -> None:
        """Do nothing: constraints are parts of the tables."""

    def load(self, table: Table, rows: Iterable[Row]) -> None:
        columns = ", ".join(f'"{name}"' for name in table.columns.keys())  # noqa: SIM118  # no dict
        insert = f'INSERT INTO "{table.name}" ({columns}) VALUES ({", ".join("?" * len(table.columns))})'  # noqa: S608
        rows = iter(rows)
        with self._translated(), self._loading() as raw:
            for index in table.indexes:
                raw.execute(f'DROP INDEX IF EXISTS "{index.name}"')
            raw.execute(f'DELETE FROM "{table.name}"')  # noqa: S608  # a table's name
            before = 0
            while group := list(islice(rows, _GROUP)):
                _insert(raw, insert, group, before)
                before += len(group)
            raw.execute("BEGIN IMMEDIATE")  # on this connection: others could still believe that the indexes exist
            for index in table.indexes:
                raw.execute(str(CreateIndex(index).compile(dialect=dialect())))
            raw.execute("COMMIT")

    @contextmanager
    def _loading(self) -> Iterator[sqlite3.Connection]:
        """Open a connection that does not check foreign keys."""
        with closing(sqlite3.connect(self._path, isolation_level=None, timeout=_PATIENCE_S)) as raw:
            raw.execute("PRAGMA synchronous = NORMAL")
            yield raw

    def finish(self) -> None:
        """Write everything from SQLite's log into the file."""
        with self._translated(), self._loading() as raw:
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()

    def size(self) -> int:
        files = (self._path.with_name(self._path.name + ending) for ending in ("", "-wal"))
        return sum(file.stat().st_size for file in files if file.exists())

    def vacuum(self) -> None:
        """Rewrite the file. Writers are told to try again later."""
        with self._translated(), self._loading() as raw:
            self._check_room(raw)
            with upkeep(self._path, "it is being vacuumed; try again in a minute"):
                raw.execute("VACUUM")
            raw.execute("PRAGMA wal_checkpoint(TRUNCATE)").close()

    def _check_room(self, raw: sqlite3.Connection) -> None:
        pages, free_pages, size = (
            raw.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        needed = 2 * (pages - free_pages) * size
        free = shutil.disk_usage(self._path.parent).free
        if free < needed:
            raise TagfleetError(
                f"catalogue {self.place}: to vacuum it takes {needed / 1e6:,.0f} MB of free space for two copies, and "
                f"the disk has {free / 1e6:,.0f} MB; free some space first"
            )

    def close(self) -> None:
        self._kind.close()

    def _translated(self, where: str = "") -> AbstractContextManager[None]:
        return translated(self._kind, sqlite3.Error, where)


def _insert(raw: sqlite3.Connection, insert: str, group: list[Row], before: int) -> None:
    """Insert a group in one transaction. `before` is how many rows were inserted before it."""
    raw.execute("BEGIN IMMEDIATE")
    try:
        raw.executemany(insert, group)
        raw.execute("COMMIT")
    except (sqlite3.IntegrityError, sqlite3.DataError, OverflowError) as error:
        raw.execute("ROLLBACK")
        refused = _first_refused(raw, insert, group)
        raise RowRefused(None if refused is None else before + refused + 1, str(error)) from error


def _first_refused(raw: sqlite3.Connection, insert: str, group: list[Row]) -> int | None:
    """Return the index of the first row that cannot be inserted. Inserts nothing."""
    raw.execute("BEGIN IMMEDIATE")
    try:
        for index, row in enumerate(group):
            try:
                raw.execute(insert, row)
            except (sqlite3.Error, OverflowError):
                return index
        return None
    finally:
        raw.execute("ROLLBACK")


def _raw(connection: Connection) -> sqlite3.Connection:
    raw = connection.connection.driver_connection
    assert isinstance(raw, sqlite3.Connection)  # noqa: S101  # the engine is SQLite's
    return raw
