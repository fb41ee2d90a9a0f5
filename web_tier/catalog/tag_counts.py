"""How many images have a tag, kept in the transaction that changes the tags.

There is a row for each tag of a batch, and one under the batch "" for all batches that are not deleted. A deleted batch
has none: what it had is subtracted at once, so the counts are right while its images are still being removed.

A transaction changes counts once, after it has locked its batches, in the order of batches and tags. So no two
transactions wait for each other.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import ColumnElement, Connection, bindparam, delete, func, select
from sqlalchemy.dialects import postgresql, sqlite

from web_tier.catalog.tables import tag_counts

_Insert = sqlite.Insert | postgresql.Insert

ALL = ""
"""Stands for all batches."""


class Changes:
    """Changes of counts that one transaction makes together."""

    def __init__(self) -> None:
        self._by: dict[tuple[str, str], tuple[int, str]] = {}

    def add(self, batch_id: str, key: str, name: str, by: int) -> None:
        """Count `by` more images of a batch with this tag."""
        for of in (ALL, batch_id):
            count, known = self._by.get((of, key), (0, ""))
            self._by[of, key] = count + by, max(known, name)

    def write(self, connection: Connection) -> None:
        """Write all changes."""
        changed = [
            {"batch_id": batch_id, "key": key, "name": name, "images": by}
            for (batch_id, key), (by, name) in sorted(self._by.items())
            if by
        ]
        if not changed:
            return
        connection.execute(_ADD[connection.dialect.name], changed)
        fallen = [{"of_batch": batch_id, "of_key": key} for (batch_id, key), (by, _) in self._by.items() if by < 0]
        if fallen:
            connection.execute(_DELETE_EMPTY, fallen)


def subtract_batch(connection: Connection, batch_id: str) -> None:
    """Take all tags of a batch out of the counts. The batch is locked, and is being deleted."""
    changes = Changes()
    query = select(tag_counts.c.key, tag_counts.c.name, tag_counts.c.images).where(tag_counts.c.batch_id == batch_id)
    for key, name, images in connection.execute(query):
        changes.add(batch_id, key, name, -images)
    changes.write(connection)


def _adding(inserting: _Insert, greatest: Callable[..., ColumnElement[str]]) -> _Insert:
    new = inserting.excluded
    return inserting.on_conflict_do_update(
        index_elements=["batch_id", "key"],
        set_={"images": tag_counts.c.images + new.images, "name": greatest(tag_counts.c.name, new.name)},
    )


_ADD = {
    "sqlite": _adding(sqlite.insert(tag_counts), func.max),
    "postgresql": _adding(postgresql.insert(tag_counts), func.greatest),
}
_DELETE_EMPTY = delete(tag_counts).where(
    tag_counts.c.batch_id == bindparam("of_batch"), tag_counts.c.key == bindparam("of_key"), tag_counts.c.images <= 0
)
