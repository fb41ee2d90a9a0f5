"""Statements that insert or update many rows at once.

SQLite is in this process and runs a statement for each row quickly. PostgreSQL would take a message and an execution
for each, ten times what the rows need. It gets all rows as one parameter, in JSON, and unpacks them itself.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    Executable,
    Float,
    Table,
    Text,
    bindparam,
    cast,
    column,
    func,
    insert,
    select,
)

Values = Mapping[str, ColumnElement[Any]]
"""Expressions for the values of a row, by parameter."""


class ManyRows:
    """A statement for many rows. `columns` says by parameter which column a value is for.

    `for_each` is the statement with a parameter for each value; `at_once` makes it from expressions in their place.
    """

    def __init__(
        self, columns: Mapping[str, Column[Any]], for_each: Executable, at_once: Callable[[Values], Executable]
    ) -> None:
        self._encoders = {name: _encoder(into) for name, into in columns.items()}
        self._for_each = for_each
        self._at_once = at_once(_unpacked(columns))

    def execute(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute the statement. Each row has a value for each parameter."""
        if connection.dialect.name == "postgresql":
            encoded = [{name: encode(row[name]) for name, encode in self._encoders.items()} for row in rows]
            connection.execute(self._at_once, {"rows": json.dumps(encoded)})
        else:
            connection.execute(self._for_each, rows)


def insert_many(table: Table, *names: str) -> ManyRows:
    """Return a statement that inserts rows; the parameters are named like the columns."""

    def at_once(values: Values) -> Executable:
        return insert(table).from_select(names, select(*(values[name] for name in names)))

    return ManyRows({name: table.c[name] for name in names}, insert(table), at_once)


def _unpacked(columns: Mapping[str, Column[Any]]) -> dict[str, ColumnElement[Any]]:
    """Return expressions for the values that PostgreSQL unpacks from the parameter `rows`."""
    carried = [column(name, Text() if _is_text(into) else into.type) for name, into in columns.items()]
    records = func.json_to_recordset(cast(bindparam("rows", type_=Text()), JSON())).table_valued(*carried)
    found = records.render_derived(name="unpacked", with_types=True).c
    return {name: cast(found[name], JSON()) if _is_json(into) else found[name] for name, into in columns.items()}


def _encoder(into: Column[Any]) -> Callable[[Any], Any]:
    """Return a function that makes a value of this column fit for JSON."""
    if _is_json(into):
        # Within a text, because PostgreSQL would not unpack a NUL. As SQLAlchemy does it, None may be JSON's null.
        null = None if getattr(into.type, "none_as_null", False) else "null"
        return lambda value: null if value is None else json.dumps(value)
    if _is_text(into):
        return lambda value: value.replace("\0", "\N{REPLACEMENT CHARACTER}") if value and "\0" in value else value
    if isinstance(into.type, Float):
        return lambda value: value if value is None or math.isfinite(value) else str(value)
    return lambda value: value


def _is_json(into: Column[Any]) -> bool:
    return isinstance(into.type, JSON)


def _is_text(into: Column[Any]) -> bool:
    return isinstance(into.type, Text | JSON)
