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

from collections.abc import Callable, Mapping
from typing import Any

from sqlalchemy import ColumnElement, Connection, Delete, bindparam, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from web_tier.catalog.many_rows import ManyRows, Values
from web_tier.catalog.tables import tag_counts, tags

_Insert = sqlite.Insert | postgresql.Insert

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
        changed = [_row(*of, *by) for of, by in sorted(self._by.items()) if by[0]]
        if changed:
            _ADD.execute(connection, changed)
        fallen = [{"of_batch": batch_id, "of_key": key} for (batch_id, key), (by, _) in self._by.items() if by < 0]
        if fallen:
            _DELETE_EMPTY.execute(connection, fallen)


def _row(batch_id: str, key: str, images: int, name: str) -> dict[str, Any]:
    return {"batch_id": batch_id, "key": key, "name": name, "images": images}


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
    # Every writer of such a tag begins with this row, so it waits.
    _ADD.execute(connection, [_row(ALL, key, 0, names[key]) for key in sorted(names)])
    each = (tag_counts.c.batch_id != ALL) & tag_counts.c.key.in_(names)
    sums = dict(connection.execute(_SUMS.where(each)).all())
    of_all = tag_counts.c.batch_id == ALL
    setting = update(tag_counts).where(of_all, tag_counts.c.key == bindparam("of_key")).values(images=bindparam("sum"))
    connection.execute(setting, [{"of_key": key, "sum": int(sums.get(key, 0))} for key in sorted(names)])
    connection.execute(delete(tag_counts).where(of_all, tag_counts.c.images <= 0))


_SUMS = select(tag_counts.c.key, func.sum(tag_counts.c.images)).group_by(tag_counts.c.key)


def _adding(inserting: _Insert, greatest: Callable[..., ColumnElement[str]]) -> _Insert:
    new = inserting.excluded
    return inserting.on_conflict_do_update(
        index_elements=["batch_id", "key"],
        set_={"images": tag_counts.c.images + new.images, "name": greatest(tag_counts.c.name, new.name)},
    )


def _adding_all(values: Values) -> _Insert:
    inserting = postgresql.insert(tag_counts)
    return _adding(inserting.from_select(list(values), select(*values.values())), func.greatest)


_ADD = ManyRows(dict(tag_counts.c), _adding(sqlite.insert(tag_counts), func.max), _adding_all)


def _deleting_empty(values: Values) -> Delete:
    named = tag_counts.c.batch_id == values["of_batch"], tag_counts.c.key == values["of_key"]
    return delete(tag_counts).where(*named, tag_counts.c.images <= 0)


_NAMED = {"of_batch": tag_counts.c.batch_id, "of_key": tag_counts.c.key}
_DELETE_EMPTY = ManyRows(_NAMED, _deleting_empty({name: bindparam(name) for name in _NAMED}), _deleting_empty)
