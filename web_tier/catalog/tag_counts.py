"""How many images have a tag, kept in the transaction that changes the tags.

1. `tag_counts` has a row for each tag of a batch, and one under the batch "" for all batches together.
2. It counts the placed rows of `tags` of batches that are not deleted. To delete a batch takes out all its counts at
   once, so they are right while the images are still being removed.
3. Whoever changes a batch's count changes that of all batches by the same number. So those of all batches are right if
   those of each batch are, and to correct a batch corrects them.
4. A transaction locks its batches first and then writes its changes once, in the order of batches and tags. So no two
   transactions wait for each other.

An earlier version changes tags without counting; `recount` corrects what it left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Select,
    Text,
    bindparam,
    delete,
    func,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects import postgresql

from web_tier.catalog.tables import tag_counts, tags

ALL = ""
"""Stands for all batches."""


class Changes:
    """Changes of counts that one transaction makes together."""

    def __init__(self) -> None:
        self._by: dict[tuple[str, str], tuple[int, str]] = {}

    def add(self, batch_id: str, key: str, name: str, by: int) -> None:
        """Count `by` more images of a batch with this tag, in the batch and in all."""
        for of in (ALL, batch_id):
            self.add_to(of, key, name, by)

    def add_to(self, of: str, key: str, name: str, by: int) -> None:
        """Count `by` more images in the batch `of` alone, or in `ALL` alone."""
        count, known = self._by.get((of, key), (0, ""))
        self._by[of, key] = count + by, max(known, name)

    def write(self, connection: Connection) -> None:
        """Write all changes."""
        changed = [(batch_id, key, name, by) for (batch_id, key), (by, name) in sorted(self._by.items()) if by]
        if changed:
            _upsert(connection, changed)
        fallen = [(batch_id, key) for batch_id, key, _, by in changed if by < 0]
        if fallen:
            _delete_empty(connection, fallen)


def subtract_batch(connection: Connection, batch_id: str) -> None:
    """Take all tags of a batch out of the counts. The batch is locked."""
    changes = Changes()
    subtract(connection, batch_id, changes)
    changes.write(connection)


def subtract(connection: Connection, batch_id: str, changes: Changes) -> None:
    """Delete the counts of a batch, and add to `changes` what that changes for all. The batch is locked."""
    of_batch = delete(tag_counts).where(tag_counts.c.batch_id == batch_id)
    gone = of_batch.returning(tag_counts.c.key, tag_counts.c.name, tag_counts.c.images)
    for key, name, images in connection.execute(gone):
        changes.add_to(ALL, key, name, -images)


def recount(
    connection: Connection, batch_id: str, changes: Changes, after: str | None = None, rows: int = 20_000
) -> str | None:
    """Add to `changes` what corrects the counts of a batch, for a part of its tags. The batch is locked.

    A part has the tags that follow `after`, with `rows` rows of `tags` and the rest of the last tag's. Returns the last
    tag of the part; None if that was the last part.
    """
    tagged, counted = tags.c.batch_id == batch_id, tag_counts.c.batch_id == batch_id
    if after is not None:
        tagged, counted = tagged & (tags.c.key > after), counted & (tag_counts.c.key > after)
    end = select(tags.c.key).where(tagged).order_by(tags.c.key).offset(rows).limit(1)
    last: str | None = connection.execute(end).scalar_one_or_none()
    if last is not None:
        tagged, counted = tagged & (tags.c.key <= last), counted & (tag_counts.c.key <= last)
    connection.execute(delete(tag_counts).where(counted, tag_counts.c.images <= 0))  # if somebody tampered
    there: dict[str, int] = dict(connection.execute(_PER_KEY.where(tagged)).all())
    stored = _stored(connection, counted)
    for key in there.keys() | stored.keys():
        name, images = stored.get(key, ("", 0))
        by = there.get(key, 0) - images
        if by:
            changes.add(batch_id, key, name or _a_name(connection, batch_id, key), by)
    return last


_PER_KEY = select(tags.c.key, func.count()).group_by(tags.c.key)


def _stored(connection: Connection, which: ColumnElement[bool]) -> dict[str, tuple[str, int]]:
    """Return name and number of images by key."""
    query = select(tag_counts.c.key, tag_counts.c.name, tag_counts.c.images).where(which)
    return {row.key: (row.name, row.images) for row in connection.execute(query)}


def _a_name(connection: Connection, batch_id: str, key: str) -> str:
    query = select(func.max(tags.c.name)).where(tags.c.batch_id == batch_id, tags.c.key == key)
    return connection.execute(query).scalar_one() or key


def correct_all(connection: Connection, names: Mapping[str, str]) -> None:
    """Set the counts of all batches together to the sums over the batches, for tags given by key, with a name each."""
    _upsert(connection, [(ALL, key, names[key], 0) for key in sorted(names)])  # locks them: every writer begins there
    each = (tag_counts.c.batch_id != ALL) & tag_counts.c.key.in_(names)
    sums = dict(connection.execute(_SUMS.where(each)).all())
    of_all = tag_counts.c.batch_id == ALL
    setting = update(tag_counts).where(of_all, tag_counts.c.key == bindparam("of_key")).values(images=bindparam("sum"))
    connection.execute(setting, [{"of_key": key, "sum": int(sums.get(key, 0))} for key in sorted(names)])
    connection.execute(delete(tag_counts).where(of_all, tag_counts.c.images <= 0))


_SUMS = select(tag_counts.c.key, func.sum(tag_counts.c.images)).group_by(tag_counts.c.key)


def _upsert(connection: Connection, changed: Sequence[tuple[str, str, str, int]]) -> None:
    if connection.dialect.name == "postgresql":
        columns = map(list, zip(*changed, strict=True))
        connection.execute(_UPSERT_POSTGRESQL, dict(zip(_COLUMNS, columns, strict=True)))
    else:
        connection.exec_driver_sql(_UPSERT_SQLITE, list(changed))


def _delete_empty(connection: Connection, fallen: Sequence[tuple[str, str]]) -> None:
    if connection.dialect.name == "postgresql":
        columns = map(list, zip(*fallen, strict=True))
        connection.execute(_DELETE_POSTGRESQL, dict(zip(_COLUMNS, columns, strict=False)))
    else:
        connection.exec_driver_sql(_DELETE_SQLITE, list(fallen))


_COLUMNS = ("batch_id", "key", "name", "images")
_UPSERT_SQLITE = """
    INSERT INTO tag_counts (batch_id, key, name, images) VALUES (?, ?, ?, ?) ON CONFLICT (batch_id, key)
    DO UPDATE SET images = tag_counts.images + excluded.images, name = max(tag_counts.name, excluded.name)"""
_DELETE_SQLITE = "DELETE FROM tag_counts WHERE batch_id = ? AND key = ? AND images <= 0"


def _unnested(*names: str) -> Select[Any]:
    """Select rows from parameters that are arrays, one for each column: one statement instead of many."""
    kinds = {"images": BigInteger()}
    arrays = (bindparam(name, type_=postgresql.ARRAY(kinds.get(name, Text()))) for name in names)
    return select(func.unnest(*arrays).table_valued(*names).render_derived())


def _upserting() -> postgresql.Insert:
    inserting = postgresql.insert(tag_counts).from_select(_COLUMNS, _unnested(*_COLUMNS))
    new = inserting.excluded
    return inserting.on_conflict_do_update(
        index_elements=["batch_id", "key"],
        set_={"images": tag_counts.c.images + new.images, "name": func.greatest(tag_counts.c.name, new.name)},
    )


_UPSERT_POSTGRESQL = _upserting()
_DELETE_POSTGRESQL = delete(tag_counts).where(
    tuple_(tag_counts.c.batch_id, tag_counts.c.key).in_(_unnested("batch_id", "key")), tag_counts.c.images <= 0
)
