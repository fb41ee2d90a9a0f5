"""Upkeep of a catalogue in a PostgreSQL database."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import URL, Connection, Table, inspect

from core.errors import TagfleetError, Unavailable
from web_tier.catalog.access import Access
from web_tier.catalog.postgresql import PostgreSQL
from web_tier.catalog.upkeep.rows import Row, select_sql, tables_in_order
from web_tier.catalog.upkeep.side import Orphans, RowRefused, translated

if TYPE_CHECKING:
    import psycopg

_FETCHED = 5_000
_PATIENT = (
    "SET statement_timeout = 0",
    "SET idle_in_transaction_session_timeout = 0",
    "SET lock_timeout = '60s'",
    "SET maintenance_work_mem = '256MB'",
)
_OF_DATA = ("22", "23", "54")
"""Classes of SQLSTATE: invalid data, broken constraints, a limit of the server, such as the size of an index entry."""


class PostgresqlSide:
    """A `Side`. A table is loaded in one transaction by COPY, so it is there as a whole or empty."""

    keeps_nul = False

    def __init__(self, url: URL) -> None:
        self._kind = PostgreSQL(url)
        self.place = self._kind.place

    def exists(self) -> bool:
        with self.reading() as connection:
            return inspect(connection).has_table("batches")

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with self._translated(), self._kind.connect(Access.SNAPSHOT) as connection:
            _be_patient(connection)
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        with self._translated(), self._kind.connect(Access.WRITE) as connection:
            _be_patient(connection)
            yield connection

    @contextmanager
    def paused(self, reason: str) -> Iterator[Connection]:
        """Lock all tables against writers. They wait for `lock_timeout`, and are not told the reason."""
        with self.writing() as connection:
            for table in tables_in_order():  # `batches` first, as all do who change images
                connection.exec_driver_sql(f'LOCK TABLE "{table.name}" IN EXCLUSIVE MODE')
            yield connection

    def damage(self, connection: Connection) -> list[str]:
        """Find indexes that the server does not use because their creation failed."""
        with self._translated():
            found = connection.exec_driver_sql(
                "SELECT relname FROM pg_index JOIN pg_class ON pg_class.oid = indexrelid "
                "WHERE NOT indisvalid AND relnamespace = current_schema()::regnamespace"
            )
            return [f"index {name} is invalid; run REINDEX INDEX {name}" for name in found.scalars()]

    def index_names(self, connection: Connection) -> set[str]:
        query = "SELECT indexname FROM pg_indexes WHERE schemaname = current_schema()"
        with self._translated():
            return set(connection.exec_driver_sql(query).scalars())

    def orphans(self, connection: Connection) -> list[Orphans]:
        """Return none: the server checks all foreign keys. `catalog check` finds one that is missing."""
        return []

    def read(self, connection: Connection, table: Table, *, ordered: bool) -> Iterator[Row]:
        with self._translated(f", table {table.name}"), _raw(connection).cursor("move", binary=True) as cursor:
            cursor.itersize = _FETCHED
            cursor.execute(select_sql(table, "postgresql", ordered=ordered).encode())
            yield from cursor

    def prepare(self) -> None:
        with self.writing() as connection:
            encoding = connection.exec_driver_sql("SHOW server_encoding").scalar_one()
            if encoding != "UTF8":
                raise TagfleetError(f"catalogue {self.place}: its encoding is {encoding}; make it with ENCODING 'UTF8'")
            for table, constraint in _foreign_keys(connection):
                connection.exec_driver_sql(f'ALTER TABLE "{table}" DROP CONSTRAINT "{constraint}"')

    def load(self, table: Table, rows: Iterable[Row]) -> None:
        from psycopg.types.string import StrDumper

        columns = ", ".join(f'"{name}"' for name in table.columns.keys())  # noqa: SIM118  # no dict
        try:
            with self.writing() as connection:
                for index in table.indexes:
                    index.drop(connection, checkfirst=True)
                connection.exec_driver_sql(f'TRUNCATE "{table.name}"')
                with _raw(connection).cursor() as cursor:
                    cursor.adapters.register_dumper(str, StrDumper)  # rows have no NUL that ours would replace
                    with cursor.copy(f'COPY "{table.name}" ({columns}) FROM STDIN'.encode()) as copy:
                        for row in rows:
                            copy.write_row(row)
                for index in table.indexes:
                    index.create(connection)
        except Unavailable as error:
            _refuse_row(error.__cause__)
            raise

    def finish(self) -> None:
        """Make the foreign keys, set the sequences, and collect statistics for the planner."""
        with self.writing() as connection:
            there = {table for table, _ in _foreign_keys(connection)}
            for table in tables_in_order():
                for key in () if table.name in there else table.foreign_keys:
                    connection.exec_driver_sql(
                        f'ALTER TABLE "{table.name}" ADD FOREIGN KEY ("{key.parent.name}") '
                        f'REFERENCES "{key.column.table.name}" ("{key.column.name}")'
                        + (f" ON DELETE {key.ondelete}" if key.ondelete else "")
                    )
                _set_sequence(connection, table)
            for table in tables_in_order():
                connection.exec_driver_sql(f'ANALYZE "{table.name}"')

    def size(self) -> int:
        with self.reading() as connection:
            sizes = [
                connection.exec_driver_sql(f"SELECT pg_total_relation_size('\"{table.name}\"')").scalar_one()
                for table in tables_in_order()
            ]
        return sum(sizes)

    def vacuum(self) -> None:
        """Let the server use the space of deleted rows again, and collect statistics, while the service runs."""
        with self._translated(), self._kind.connect(Access.ONE_QUERY) as connection:
            _be_patient(connection)
            for table in tables_in_order():
                _raw(connection).execute(f'VACUUM (ANALYZE) "{table.name}"'.encode())

    def close(self) -> None:
        self._kind.close()

    def _translated(self, where: str = "") -> AbstractContextManager[None]:
        import psycopg

        return translated(self._kind, psycopg.Error, where)


def _refuse_row(error: Any) -> None:
    """Raise RowRefused if the server refused data of COPY; its context has the number of the line."""
    if not (getattr(error, "sqlstate", None) or "").startswith(_OF_DATA):
        return
    found = re.search(r"COPY \w+\D*(\d+)", error.diag.context or "")  # "line" may be in another language
    reason = "; ".join(part for part in (error.diag.message_primary, error.diag.message_detail) if part)
    raise RowRefused(int(found[1]) if found else None, reason) from error


def _be_patient(connection: Connection) -> None:
    for statement in _PATIENT:
        connection.exec_driver_sql(statement)


def _foreign_keys(connection: Connection) -> list[tuple[str, str]]:
    """Return table and name of each foreign key of the catalogue."""
    names = [table.name for table in tables_in_order()]
    found = connection.exec_driver_sql(
        "SELECT relname, conname FROM pg_constraint JOIN pg_class ON pg_class.oid = conrelid "
        "WHERE contype = 'f' AND relnamespace = current_schema()::regnamespace AND relname = ANY(%s)",
        (names,),
    )
    return [(table, constraint) for table, constraint in found]


def _set_sequence(connection: Connection, table: Table) -> None:
    """Let the next number that the table draws for its key be above all present ones."""
    column = table.autoincrement_column
    if column is not None:
        connection.exec_driver_sql(
            f"SELECT setval(pg_get_serial_sequence('{table.name}', '{column.name}'), "  # noqa: S608  # a table's name
            f'coalesce(max("{column.name}"), 1), count(*) > 0) FROM "{table.name}"'
        )


def _raw(connection: Connection) -> psycopg.Connection[Any]:
    raw: Any = connection.connection.driver_connection
    return raw  # type: ignore[no-any-return]  # the engine is psycopg's
