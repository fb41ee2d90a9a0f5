"""Rows as both databases give them, and a checksum of a table that does not depend on their order.

A row is a tuple of None, int, float and str. JSON is its text, a boolean is 0 or 1, and negative zero is zero, so a row
is equal to its copy whichever database it was read from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b

from sqlalchemy import JSON, Boolean, Float, Table

from web_tier.catalog.tables import metadata

Row = tuple[int | float | str | None, ...]

_BYTES = 16
_MODULUS = 1 << 8 * _BYTES
_POSTGRESQL = ((Boolean, "::int"), (JSON, "::text"), (Float, " + 0"))
"""What makes PostgreSQL's values those that SQLite has. SQLite stores no negative zero: the sum with 0 is 0."""
_NUL_IN_REPR = "\\x00"


def tables_in_order() -> list[Table]:
    """Return the catalogue's tables. One comes after those that its foreign keys refer to, and `batches` first."""
    return sorted(metadata.sorted_tables, key=lambda table: table.name != "batches")


def key_names(table: Table) -> list[str]:
    """Return the names of the primary key's columns."""
    return [column.name for column in table.primary_key]


def select_sql(table: Table, dialect: str, *, ordered: bool = False) -> str:
    """Return the query of all rows, if `ordered` in the order of their keys."""
    # Qualified: SQLite would take a quoted name that is no column for a text.
    names = {name: f'"{table.name}"."{name}"' for name in table.columns.keys()}  # noqa: SIM118  # no dict
    columns = ", ".join(_expression(names[name], column.type, dialect) for name, column in table.columns.items())
    order = ", ".join(names[name] for name in key_names(table))
    return f'SELECT {columns} FROM "{table.name}"' + (f" ORDER BY {order}" if ordered else "")  # noqa: S608


def _expression(name: str, type_: object, dialect: str) -> str:
    if dialect == "postgresql":
        for of_type, change in _POSTGRESQL:
            if isinstance(type_, of_type):
                return name + change
    return name


@dataclass(slots=True)
class Checksum:
    """How many rows there were, and the sum of their hashes modulo 2^128."""

    rows: int = 0
    total: int = 0

    def __str__(self) -> str:
        return f"{self.rows} {self.total:0{2 * _BYTES}x}"

    @property
    def digest(self) -> str:
        """The sum in hexadecimal digits."""
        return f"{self.total:0{2 * _BYTES}x}"


def summed(rows: Iterable[Row], checksum: Checksum) -> Iterator[Row]:
    """Yield the rows, and add each to the checksum before."""
    for row in rows:
        digest = blake2b(repr(row).encode("utf-8", "surrogatepass"), digest_size=_BYTES).digest()
        checksum.rows += 1
        checksum.total = (checksum.total + int.from_bytes(digest)) % _MODULUS
        yield row


@dataclass(slots=True)
class Replaced:
    """How many rows had a text with NUL."""

    rows: int = 0


def without_nul(rows: Iterable[Row], replaced: Replaced) -> Iterator[Row]:
    """Yield the rows with U+FFFD in place of NUL, as `web_tier.catalog.postgresql` writes them."""
    for row in rows:
        if _NUL_IN_REPR in repr(row):
            clean = tuple(
                value.replace("\0", "\N{REPLACEMENT CHARACTER}") if isinstance(value, str) else value for value in row
            )
            replaced.rows += clean != row
            yield clean
        else:
            yield row
