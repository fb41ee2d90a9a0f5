"""Check and repair the numbers that the catalogue keeps: images of each tag, and images of each batch.

1. `check_counts` counts everything anew in one snapshot and compares.
2. `repair_counts` corrects batch by batch, each under its lock, while the service runs. A change of a batch's
   tags changes those of all batches by as much, so those of all batches are compared last.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, exists, func, select

from web_tier.catalog import changes, tag_counts
from web_tier.catalog.database import Database
from web_tier.catalog.pace import Pace
from web_tier.catalog.placing import PlacingCatalog
from web_tier.catalog.tables import batches, images, tags
from web_tier.catalog.tables import tag_counts as counts
from web_tier.catalog.tag_counts import ALL
from web_tier.catalog.visibility import WAITING

_AT_ONCE = 500
_NOT_DELETED = batches.c.deleted_at.is_(None)
_STATUSES = {
    "total": func.count(),
    "completed": func.count().filter(images.c.status.not_in(WAITING)),
    "failed": func.count().filter(images.c.status == "failed"),
    "cancelled": func.count().filter(images.c.status == "cancelled"),
}
_IMAGES = select(images.c.batch_id, *(count.label(name) for name, count in _STATUSES.items())).group_by(
    images.c.batch_id
)


@dataclass(frozen=True, slots=True)
class CountProblem:
    """A number in the catalogue that is not what the rows say."""

    batch_id: str
    """"" for all batches together."""
    what: str
    """A column of the batch, or `tag` and the name of a tag in quotes."""
    kept: int
    counted: int

    def __str__(self) -> str:
        where = f"batch {self.batch_id}" if self.batch_id else "all batches"
        return f"{where}, {self.what}: the catalogue says {self.kept} images, there are {self.counted}"


def check_counts(database: Database) -> list[CountProblem]:
    """Count all tags and images anew; return where the catalogue says something else. Raises Unavailable.

    Tags that an earlier version wrote, and that are not counted yet, are not missed.
    """
    with database.reading() as connection:
        return list(_problems(connection))


def repair_counts(database: Database) -> int:
    """Correct all numbers that `check_counts` finds, while the service runs; return how many. Raises Unavailable."""
    found = check_counts(database)
    placing, pace = PlacingCatalog(database), Pace()
    for group in pace.groups(sorted({problem.batch_id for problem in found} - {ALL})):
        for batch_id in placing.recount(group, pace):
            placing.recount_large(batch_id, Pace())
        for batch_id in group:
            with database.writing() as connection:
                _repair_images(connection, batch_id)
    with database.reading() as connection:
        names = _wrong_sums(connection)
    for some in _slices(sorted(names), _AT_ONCE):
        with database.writing() as connection:
            tag_counts.correct_all(connection, {key: names[key] for key in some})
    return len(found)


def _problems(connection: Connection) -> Iterator[CountProblem]:
    """Compare batch by batch, and add up what is there for the comparison of all batches."""
    ids = connection.execute(select(batches.c.id).where(_NOT_DELETED).order_by(batches.c.id)).scalars().all()
    there: Counter[str] = Counter()
    for some in _slices(ids, _AT_ONCE):
        yield from _problems_of_images(connection, some)
        per_tag = select(tags.c.batch_id, tags.c.key, func.count()).group_by(tags.c.batch_id, tags.c.key)
        counted = {(id_, key): n for id_, key, n in connection.execute(per_tag.where(tags.c.batch_id.in_(some)))}
        yield from _problems_of_tags(connection, counts.c.batch_id.in_(some), counted)
        for (_, key), number in counted.items():
            there[key] += number
    known = exists().where(batches.c.id == counts.c.batch_id, _NOT_DELETED)
    yield from _problems_of_tags(connection, (counts.c.batch_id != ALL) & ~known, {})
    yield from _problems_of_tags(connection, counts.c.batch_id == ALL, {(ALL, key): n for key, n in there.items()})


def _problems_of_tags(
    connection: Connection, which: ColumnElement[bool], counted: Mapping[tuple[str, str], int]
) -> Iterator[CountProblem]:
    """Compare rows of `tag_counts` with numbers by batch and key."""
    query = select(counts.c.batch_id, counts.c.key, counts.c.name, counts.c.images).where(which)
    kept = {(row.batch_id, row.key): row for row in connection.execute(query)}
    for batch_id, key in sorted(counted.keys() | kept.keys()):
        row, number = kept.get((batch_id, key)), counted.get((batch_id, key), 0)
        if row is None or row.images != number or not number:
            name = key if row is None else row.name
            yield CountProblem(batch_id, f'tag "{name}"', 0 if row is None else row.images, number)


def _problems_of_images(connection: Connection, batch_ids: Sequence[str]) -> Iterator[CountProblem]:
    counted = {row.batch_id: row for row in connection.execute(_IMAGES.where(images.c.batch_id.in_(batch_ids)))}
    query = select(batches.c.id, *(batches.c[name] for name in _STATUSES)).where(batches.c.id.in_(batch_ids))
    for kept in connection.execute(query.order_by(batches.c.id)):
        for name in _STATUSES:
            number = getattr(counted.get(kept.id), name, 0)
            if getattr(kept, name) != number:
                yield CountProblem(kept.id, name, getattr(kept, name), number)


def _repair_images(connection: Connection, batch_id: str) -> None:
    """Correct the counters of a batch. Delete counts of tags if there is no such batch."""
    lock = select(batches.c.deleted_at, *(batches.c[name] for name in _STATUSES), batches.c.changed_at)
    kept = connection.execute(lock.where(batches.c.id == batch_id).with_for_update()).one_or_none()
    if kept is None:
        connection.execute(delete(counts).where(counts.c.batch_id == batch_id))
        return
    counted = connection.execute(_IMAGES.where(images.c.batch_id == batch_id)).one_or_none()
    wrong = {name: getattr(counted, name, 0) - getattr(kept, name) for name in _STATUSES}
    if kept.deleted_at is None and any(wrong.values()):
        changes.advance(connection, batch_id, kept.changed_at, counts=changes.Counts(**wrong))


def _wrong_sums(connection: Connection) -> dict[str, str]:
    """Return the tags whose count over all batches is not the sum of the batches: a name by key."""
    sums = select(counts.c.key, func.max(counts.c.name), func.sum(counts.c.images)).group_by(counts.c.key)
    each = {key: (name, int(n)) for key, name, n in connection.execute(sums.where(counts.c.batch_id != ALL))}
    every = {key: (name, int(n)) for key, name, n in connection.execute(sums.where(counts.c.batch_id == ALL))}
    return {
        key: (each.get(key) or every[key])[0]
        for key in each.keys() | every.keys()
        if key not in each or key not in every or each[key][1] != every[key][1]
    }


def _slices(ids: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (ids[start : start + size] for start in range(0, len(ids), size))
