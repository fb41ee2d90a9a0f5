"""Catalogues with rows of every table, and what is in them."""

from __future__ import annotations

import random
import sqlite3
from typing import Any

from sqlalchemy import JSON, URL, BigInteger, Boolean, Column, Float, Integer, Text, create_engine, insert, select, text

from web_tier.catalog.database import migrate
from web_tier.catalog.tables import metadata
from web_tier.catalog.upkeep.rows import tables_in_order

TEXTS = [
    "",
    "a",
    "NULL",
    "\\N",
    "tab\tline\nreturn\r",
    "quote \" and ' and \\",
    "ü 🐈 \u2028",
    "\ufffd",
    "\\x00",
    "%s %%",
]
FLOATS = [0.0, 0.1, 1.0, 1e15, 1e16, 1e-7, 5e-324, 1.7976931348623157e308, 1_700_000_000.123456, 2 / 3]
NUMBERS = [0, 1, 2**31 - 1, 2**62]
DOCUMENTS: list[Any] = [{}, [], None, {"ü": [1, 0.1, None, True, "\\N\n"]}, "text", [{"name": "\ud800"}]]
TAGS = [[], [{"name": "Crane 🐈", "confidence": 0.9, "source": "model", "instances": []}]]
CONFIDENCES = [0.0, 5e-324, 0.1, 2 / 3, 1.0]

_VALUES: list[tuple[type, list[Any]]] = [
    (JSON, DOCUMENTS),
    (Boolean, [False, True]),
    (Float, FLOATS),
    (BigInteger, NUMBERS),
    (Integer, NUMBERS[:-1]),
    (Text, TEXTS),
]


def fill(url: URL, seed: int = 0, rows: int = 12, largest: int = 2**62) -> None:
    """Make a catalogue with `rows` rows in every table, of values that are hard to copy."""
    migrate(url)
    chance = random.Random(seed)
    engine = create_engine(url)
    keys: dict[str, list[Any]] = {}
    with engine.begin() as connection:
        for table in tables_in_order():
            values = [
                {column.name: _at_most(largest, _value(column, number, chance, keys)) for column in table.columns}
                for number in range(rows)
            ]
            connection.execute(insert(table), values)
            (first, *_) = table.primary_key
            keys[table.name] = [row[first.name] for row in values]
    if url.drivername != "sqlite":
        with engine.begin() as connection:
            connection.execute(text("SELECT setval('verdicts_id_seq', (SELECT max(id) FROM verdicts))"))
    engine.dispose()


def _at_most(largest: int, value: Any) -> Any:
    return min(value, largest) if type(value) is int else value


def _value(column: Column[Any], number: int, chance: random.Random, keys: dict[str, list[Any]]) -> Any:
    for key in column.foreign_keys:
        return chance.choice(keys[key.column.table.name])
    if column.primary_key:
        return number + 1 if isinstance(column.type, Integer) else f"{column.name}_{number:03}"
    if column.nullable and chance.random() < 0.3:
        return None
    if column.name in ("tags", "said"):
        return chance.choice(TAGS)
    if column.name == "surest":
        return chance.choice(CONFIDENCES)
    if column.name in ("position", "change"):
        return number
    if column.name in ("idempotency_key", "fingerprint", "sha256", "event"):
        return f"{number} {chance.choice(TEXTS)}"
    return chance.choice(next(values for type_, values in _VALUES if isinstance(column.type, type_)))


def content(url: URL) -> dict[str, list[tuple[Any, ...]]]:
    """Return all rows of all tables, in the order of their keys."""
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return {
                name: sorted(map(tuple, connection.execute(select(table))), key=repr)
                for name, table in metadata.tables.items()
            }
    finally:
        engine.dispose()


def change(url: URL, statement: str) -> None:
    """Execute a statement, past all checks of foreign keys on SQLite."""
    if url.drivername == "sqlite":
        connection = sqlite3.connect(str(url.database))
        connection.execute(statement)
        connection.commit()
        connection.close()
        return
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()
