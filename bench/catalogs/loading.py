"""Write many rows at once: executemany on SQLite, COPY on PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, Protocol, cast

import psycopg
from sqlalchemy import URL, Connection

Row = tuple[Any, ...]


class Loader(Protocol):
    """Inserts rows. Columns that the catalogue does not have, because its schema is older, are left out."""

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Insert rows, unless the catalogue does not have this table."""

    def has(self, table: str) -> bool:
        """Return whether the catalogue has this table."""

    def query(self, statement: str) -> list[Row]:
        """Return the rows of a query."""


class SQLiteLoader:
    """Inserts into a SQLite file over a connection."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._columns: dict[str, list[str]] = {}

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        kept, project = _kept(self._columns_of(table), columns)
        if kept:
            marks = ", ".join("?" * len(kept))
            statement = f"INSERT INTO {table} ({', '.join(kept)}) VALUES ({marks})"  # our own names
            self._connection.executemany(statement, map(project, rows))

    def has(self, table: str) -> bool:
        return bool(self._columns_of(table))

    def query(self, statement: str) -> list[Row]:
        return self._connection.execute(statement).fetchall()

    def _columns_of(self, table: str) -> list[str]:
        if table not in self._columns:
            self._columns[table] = [row[1] for row in self.query(f"PRAGMA table_info({table})")]
        return self._columns[table]


class PostgreSQLLoader:
    """Inserts into a PostgreSQL database over a connection."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self._columns: dict[str, list[str]] = {}

    def insert(self, table: str, columns: Sequence[str], rows: Sequence[Row]) -> None:
        kept, project = _kept(self._columns_of(table), columns)
        if not kept:
            return
        statement = f"COPY {table} ({', '.join(kept)}) FROM STDIN"
        with self._connection.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            for row in rows:
                copy.write_row(project(row))

    def has(self, table: str) -> bool:
        return bool(self._columns_of(table))

    def query(self, statement: str) -> list[Row]:
        return self._connection.execute(statement.encode()).fetchall()

    def _columns_of(self, table: str) -> list[str]:
        if table not in self._columns:
            found = self.query(f"SELECT attname FROM pg_attribute WHERE attrelid = to_regclass('{table}')")
            self._columns[table] = [name for (name,) in found]
        return self._columns[table]


def _kept(there: Sequence[str], columns: Sequence[str]) -> tuple[list[str], Any]:
    """Return the columns that are there, and a function that takes their values out of a row."""
    places = [place for place, column in enumerate(columns) if column in there]
    return [columns[place] for place in places], itemgetter(*places) if places else None


def loader_of(connection: Connection) -> Loader:
    """Return a loader that inserts within SQLAlchemy's transaction."""
    driver = connection.connection.driver_connection
    return SQLiteLoader(driver) if isinstance(driver, sqlite3.Connection) else PostgreSQLLoader(cast("Any", driver))


@contextmanager
def bulk_loading(url: URL) -> Iterator[Loader]:
    """Fill an empty catalogue that nobody else uses: without its indexes, which are made at the end of the block."""
    if url.drivername == "sqlite":
        with _bulk_sqlite(str(url.database)) as loader:
            yield loader
    else:
        with _bulk_postgresql(url) as loader:
            yield loader


@contextmanager
def _bulk_sqlite(path: str) -> Iterator[Loader]:
    connection = sqlite3.connect(path, isolation_level=None)
    loader = SQLiteLoader(connection)
    try:
        for pragma in ("journal_mode = OFF", "synchronous = OFF", "cache_size = -200000", "locking_mode = EXCLUSIVE"):
            connection.execute(f"PRAGMA {pragma}")
        connection.execute("BEGIN")
        indexes = loader.query("SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL")
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}")
        yield loader
        for _, statement in indexes:
            connection.execute(statement)
        connection.execute("COMMIT")
        connection.execute("PRAGMA locking_mode = NORMAL")
        connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()


_SECONDARY = """
SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class ON oid = indrelid
WHERE relnamespace = 'public'::regnamespace
AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)"""
_FOREIGN_KEYS = """
SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint
WHERE contype = 'f' AND connamespace = 'public'::regnamespace"""


@contextmanager
def _bulk_postgresql(url: URL) -> Iterator[Loader]:
    plain = url.set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        loader = PostgreSQLLoader(connection)
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET maintenance_work_mem = '256MB'")
        indexes, keys = loader.query(_SECONDARY), loader.query(_FOREIGN_KEYS)
        for table, name, _ in keys:
            connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {name}".encode())
        for name, _ in indexes:
            connection.execute(f"DROP INDEX {name}".encode())
        yield loader
        for _, statement in indexes:
            connection.execute(statement.encode())
        for table, name, statement in keys:
            connection.execute(f"ALTER TABLE {table} ADD CONSTRAINT {name} {statement}".encode())
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
