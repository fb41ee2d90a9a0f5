"""Statements about many rows: insert them, update them, or find them by a list of values.

SQLite is in this process and runs a statement for each row quickly. PostgreSQL would take a message and an execution
for each, ten times what the rows need. So it gets all rows as one parameter, in JSON, and unpacks them itself.

A list of values is one parameter in JSON, too, on both. So the statement is the same however long the list is.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Self

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    ColumnElement,
    Connection,
    Dialect,
    Executable,
    Float,
    Table,
    Text,
    TypeDecorator,
    bindparam,
    cast,
    column,
    func,
    insert,
    select,
)
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import FunctionElement
from sqlalchemy.sql.operators import OperatorType

Values = Mapping[str, ColumnElement[Any]]
"""Expressions for the values of a row, by parameter."""


class ManyRows:
    """A statement for many rows. `columns` says by parameter which column a value is for.

    `for_each` is the statement with a parameter for each value; `at_once` makes it from expressions in their place.
    """

    def __init__(
        self, columns: Mapping[str, Column[Any]], for_each: Executable, at_once: Callable[[Values], Executable]
    ) -> None:
        self._encoders = {name: encode for name, into in columns.items() if (encode := _encoder(into)) is not None}
        self._for_each = for_each
        self._at_once = at_once(_unpacked(columns))

    def execute(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Execute the statement. Each row has a value for each parameter."""
        if connection.dialect.name == "postgresql":
            encoded = [{**row, **{name: encode(row[name]) for name, encode in self._encoders.items()}} for row in rows]
            connection.execute(self._at_once, {"rows": _dump(encoded)})
        else:
            connection.execute(self._for_each, rows)


def insert_many(table: Table, *names: str) -> ManyRows:
    """Return a statement that inserts rows; the parameters are named like the columns."""

    def at_once(values: Values) -> Executable:
        return insert(table).from_select(names, select(*(values[name] for name in names)))

    return ManyRows({name: table.c[name] for name in names}, insert(table), at_once)


def is_any_of(column: ColumnElement[str], name: str) -> ColumnElement[bool]:
    """Match a column with any of a list of texts, which is the parameter `name`. NUL matches as U+FFFD."""
    return _IsAnyOf(column, bindparam(name, type_=_TextList()))


class _IsAnyOf(FunctionElement[bool]):
    inherit_cache = True
    type = Boolean()

    def self_group(self, against: OperatorType | None = None) -> Self:
        """Stay as it is: SQLAlchemy would compare it with 1 on SQLite, which then would use no index."""
        return self


@compiles(_IsAnyOf)
def _compile(element: _IsAnyOf, compiler: SQLCompiler, **options: Any) -> str:
    of, values = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{of} IN (SELECT value FROM json_each({values}))"  # noqa: S608  # both are compiled expressions


@compiles(_IsAnyOf, "postgresql")
def _compile_postgresql(element: _IsAnyOf, compiler: SQLCompiler, **options: Any) -> str:
    of, values = (compiler.process(clause, **options) for clause in element.clauses)
    return f"{of} = ANY (ARRAY(SELECT json_array_elements_text(CAST({values} AS JSON))))"


class _TextList(TypeDecorator[Sequence[str]]):
    """A list of texts, as JSON."""

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: Sequence[str] | None, dialect: Dialect) -> str:
        return _dump(list(value or ()))


def _unpacked(columns: Mapping[str, Column[Any]]) -> dict[str, ColumnElement[Any]]:
    """Return expressions for the values that PostgreSQL unpacks from the parameter `rows`."""
    types = {name: Text() if isinstance(into.type, Text | JSON) else into.type for name, into in columns.items()}
    records = func.json_to_recordset(cast(bindparam("rows", type_=Text()), JSON()))
    carried = records.table_valued(*(column(name, type_) for name, type_ in types.items()))
    found = carried.render_derived(name="unpacked", with_types=True).c
    is_json = {name for name, into in columns.items() if isinstance(into.type, JSON)}
    return {name: cast(found[name], JSON()) if name in is_json else found[name] for name in columns}


def _encoder(into: Column[Any]) -> Callable[[Any], Any] | None:
    """Return a function that makes a value of this column fit for JSON; None if it is."""
    if isinstance(into.type, JSON):
        # Within a text, because PostgreSQL would not unpack a NUL. As SQLAlchemy does it, None may be JSON's null.
        null = None if into.type.none_as_null else "null"
        return lambda value: null if value is None else json.dumps(value)
    if isinstance(into.type, Float):
        return lambda value: value if value is None or math.isfinite(value) else str(value)
    return None


def _dump(values: Any) -> str:
    r"""Return JSON with U+FFFD for NUL, as `web_tier.catalog.postgresql` stores it.

    PostgreSQL cannot unpack a NUL, and SQLite would end the text there, and find the row of another id.
    """
    text = json.dumps(values)
    return json.dumps(_without_nul(values)) if r"\u0000" in text else text


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    if isinstance(value, list):
        return [_without_nul(item) for item in value]
    if isinstance(value, dict):
        return {name: _without_nul(item) for name, item in value.items()}
    return value
