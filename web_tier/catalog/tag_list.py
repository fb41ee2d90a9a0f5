"""List tags with the number of images that have them, most frequent first.

Kept counts are read while they are right, which is always, except after an update: rows of an earlier version are
counted in the background (`web_tier.catalog.placing`). Until that is done, rows of `tags` are counted, which takes a
second for a million images.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, func, literal_column, select

from web_tier.catalog.batches import read_batch
from web_tier.catalog.database import AnyRow
from web_tier.catalog.search import has_hidden_rows, of_shown_image
from web_tier.catalog.tables import batches, images, tag_counts, tags
from web_tier.catalog.tag_rows import begins_with, has_unplaced, prefix_range
from web_tier.catalog.visibility import in_batch

_FEW = 2000
"""So many tags with a prefix are sorted. Of more, the first are found sooner among the most frequent of all tags."""
_OF_ALL = tag_counts.c.batch_id == literal_column("''")
"""Without a parameter, so that the partial index can be used."""
_LISTED = select(tag_counts.c.name, tag_counts.c.images).order_by(tag_counts.c.images.desc(), tag_counts.c.key)
_BY_FREQUENCY = _LISTED.with_hint(tag_counts, "INDEXED BY ix_tag_counts_most", "sqlite").where(_OF_ALL)
_SCANNED = select(func.max(tags.c.name), func.count()).group_by(tags.c.key).order_by(func.count().desc(), tags.c.key)


@dataclass(frozen=True, slots=True)
class TagCount:
    """A tag, and how many images have it."""

    name: str
    count: int


def list_tags(connection: Connection, prefix: str, limit: int, batch_id: str | None = None) -> list[TagCount]:
    """Return the tags that begin with `prefix`, of one batch or of all that are not deleted; ties by key.

    Raises NoSuchBatch.
    """
    if batch_id is not None:
        read_batch(connection, batch_id)
    exact = not has_unplaced(connection) and (batch_id is None or _is_counted(connection, batch_id))
    read = _kept if exact else scan_tags
    return [TagCount(name, number) for name, number in read(connection, prefix, limit, batch_id)]


def scan_tags(connection: Connection, prefix: str, limit: int, batch_id: str | None = None) -> Sequence[AnyRow]:
    """Count rows of `tags`: right at any time, and slow. Returns names and numbers."""
    query = _SCANNED.limit(limit)
    if prefix:
        query = query.where(begins_with(prefix))
    if batch_id is not None:
        query = query.join(images, images.c.id == tags.c.image_id).where(in_batch(batch_id))
    elif has_hidden_rows(connection):
        query = query.where(of_shown_image())
    return connection.execute(query).all()


def _is_counted(connection: Connection, batch_id: str) -> bool:
    query = select(batches.c.counted == batches.c.change).where(batches.c.id == batch_id)
    return bool(connection.execute(query).scalar_one())


def _kept(connection: Connection, prefix: str, limit: int, batch_id: str | None) -> Sequence[AnyRow]:
    low, high = prefix_range(prefix)
    prefixed = [tag_counts.c.key >= low, tag_counts.c.key < high] if prefix else []
    if batch_id is not None:
        query = _LISTED.where(tag_counts.c.batch_id == batch_id, *prefixed)
    elif prefix and _are_few(connection, prefixed):
        query = _LISTED.where(_OF_ALL, *prefixed)
    else:
        query = _BY_FREQUENCY.where(*prefixed)
    return connection.execute(query.limit(limit)).all()


def _are_few(connection: Connection, prefixed: list[ColumnElement[bool]]) -> bool:
    some = select(tag_counts.c.key).where(_OF_ALL, *prefixed).limit(_FEW + 1).subquery()
    return connection.execute(select(func.count()).select_from(some)).scalar_one() <= _FEW
