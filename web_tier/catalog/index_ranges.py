"""Merge several ranges of an index, so that the time grows with what is returned and not with what is there.

Each key has a range of the index, and the entries of a range are sorted. The first entries of all ranges together are
found like this:

1. Read a few entries of each range, by one query.
2. Once `limit` different entries are known, only a range whose last entry comes before the last of these can have
   another. Read on in such ranges, twice as many entries each time.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import JSON, ColumnElement, Connection, FromClause, Text, cast, func, literal, literal_column, select

MOST_KEYS = 500
"""With more keys, one query for a few entries of each would take too long."""
_FEWEST = 4


@dataclass(frozen=True, slots=True)
class Ranges:
    """Ranges of the index on what `where` fixes, then `key`, then `order`."""

    key: ColumnElement[Any]
    order: ColumnElement[Any]
    where: Sequence[ColumnElement[bool]]
    descending: bool = False

    def first(self, connection: Connection, keys: Sequence[Any], after: Any, limit: int) -> list[Any]:
        """Return the first different values of `order` in the ranges of `keys`, beyond `after`, which may be None."""
        found: dict[Any, list[Any]] = {key: [] for key in keys}
        ended: set[Any] = set()
        merged: list[Any] = []
        reading = list(keys)
        count = min(limit, max(_FEWEST, 2 * limit // max(1, len(keys))))
        while reading:
            starts = [(key, found[key][-1] if found[key] else after) for key in reading]
            for key, values in zip(reading, self.read(connection, starts, count), strict=True):
                found[key] += values
                if len(values) < count:
                    ended.add(key)
            merged = sorted(set().union(*found.values()), reverse=self.descending)[:limit]
            reading = [key for key in keys if key not in ended and self._may_have_more(found[key][-1], merged, limit)]
            count = min(limit, 2 * count)
        return merged

    def _may_have_more(self, last: Any, merged: Sequence[Any], limit: int) -> bool:
        if len(merged) < limit:
            return True
        return bool(last > merged[-1] if self.descending else last < merged[-1])

    def read(self, connection: Connection, starts: Sequence[tuple[Any, Any]], count: int) -> list[list[Any]]:
        """Return up to `count` values of each range.

        `starts` are keys, each with the value beyond which to begin, or None.
        """
        if len(starts) == 1:
            return [self._read_one(connection, *starts[0], count)]
        asked = _ASKED[connection.dialect.name]
        values = select(self.order.label("value")).where(*self.where, self.key == asked.item(0, self.key))
        if starts[0][1] is not None:
            values = values.where(self._beyond(asked.item(1, self.order)))
        entries = values.order_by(self._sorted()).limit(count).subquery()
        gathered = select(cast(asked.gather(entries.c.value), Text)).scalar_subquery()
        query = select(literal_column("asked.number"), gathered).select_from(asked.rows(json.dumps(starts)))
        by_number = sorted(tuple(row) for row in connection.execute(query))
        return [sorted(json.loads(values or "[]"), reverse=self.descending) for _, values in by_number]

    def _read_one(self, connection: Connection, key: Any, start: Any, count: int) -> list[Any]:
        query = select(self.order).where(*self.where, self.key == key)
        if start is not None:
            query = query.where(self._beyond(start))
        return list(connection.execute(query.order_by(self._sorted()).limit(count)).scalars())

    def _beyond(self, start: Any) -> ColumnElement[bool]:
        beyond: ColumnElement[bool] = self.order < start if self.descending else self.order > start
        return beyond

    def _sorted(self) -> ColumnElement[Any]:
        return self.order.desc() if self.descending else self.order.asc()


@dataclass(frozen=True, slots=True)
class _Asked:
    """How a database reads a JSON array of arrays as numbered rows, and writes values as a JSON array."""

    rows: Callable[[str], FromClause]
    item: Callable[[int, ColumnElement[Any]], ColumnElement[Any]]
    """Returns an item of the row, to compare with a column."""
    gather: Callable[[ColumnElement[Any]], ColumnElement[Any]]


def _rows_of_sqlite(starts: str) -> FromClause:
    each = func.json_each(starts).table_valued("key", "value")
    return select(each.c.key.label("number"), each.c.value).subquery("asked")


def _rows_of_postgresql(starts: str) -> FromClause:
    elements = func.json_array_elements(cast(literal(starts), JSON))
    return elements.table_valued("value", with_ordinality="number").render_derived(name="asked")


def _item_of_sqlite(at: int, _like: ColumnElement[Any]) -> ColumnElement[Any]:
    """Leave the type as it is: SQLite would not compare a value of a declared type by an index on an expression."""
    return literal_column(f"json_extract(asked.value, '$[{at}]')")


def _item_of_postgresql(at: int, like: ColumnElement[Any]) -> ColumnElement[Any]:
    return cast(literal_column(f"asked.value ->> {at}"), Text() if isinstance(like.type, Text) else like.type)


_ASKED = {
    "sqlite": _Asked(_rows_of_sqlite, _item_of_sqlite, func.json_group_array),
    "postgresql": _Asked(_rows_of_postgresql, _item_of_postgresql, func.json_agg),
}
