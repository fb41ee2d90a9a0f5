"""Find images of all batches by their tags, newest first.

1. Up to `MOST_KEYS` tags: their ranges of an index on `tags` are merged.
2. More tags, or only a minimal confidence: the newest `_WALKED` images are checked. That fills the page if many match.
   If not, all images that match are collected and sorted, which takes longer the more there are.
3. While rows of `tags` are unplaced, all that match are collected.
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import ColumnElement, Connection, exists, select

from web_tier.catalog import tag_counts
from web_tier.catalog.batches import Image, select_images
from web_tier.catalog.index_ranges import Ranges
from web_tier.catalog.tables import batches, images, tags
from web_tier.catalog.tag_keys import find_keys
from web_tier.catalog.tag_rows import TagFilter, has_unplaced
from web_tier.catalog.visibility import not_deleted

_WALKED = 1000


def search(connection: Connection, wanted: TagFilter, limit: int, before: str | None) -> list[Image]:
    """Return matching images of all batches, newest first, starting after the image `before`."""
    query = select_images().order_by(images.c.id.desc()).limit(limit)
    if wanted:
        query = query.where(images.c.id.in_(_find(connection, wanted, limit, before)))
    elif before is not None:
        query = query.where(images.c.id < before)
    return [Image(*row) for row in connection.execute(query)]


def has_hidden_rows(connection: Connection) -> bool:
    """Return whether rows of deleted batches are left, which must be filtered out. Mostly there are none."""
    left = select(batches.c.id).where(
        batches.c.deleted_at.is_not(None), batches.c.purged_at.is_(None), batches.c.cleared_at.is_(None)
    )
    return connection.execute(left.limit(1)).one_or_none() is not None


def of_shown_image() -> ColumnElement[bool]:
    """Match rows of `tags` whose image is not in a deleted batch."""
    return exists().where(images.c.id == tags.c.image_id, not_deleted()).correlate(tags)


def _find(connection: Connection, wanted: TagFilter, limit: int, before: str | None) -> Sequence[str]:
    shown = [of_shown_image()] if has_hidden_rows(connection) else []
    if has_unplaced(connection):
        return _collect(connection, wanted, shown, limit, before)
    keys = find_keys(connection, wanted, tag_counts.ALL)
    if keys is not None:
        ranges = Ranges(tags.c.key, tags.c.image_id, [*shown, *wanted.sure_enough()], descending=True)
        return ranges.first(connection, keys, before, limit)
    found = _walk(connection, wanted, limit, before)
    return _collect(connection, wanted, shown, limit, before) if found is None else found


def _walk(connection: Connection, wanted: TagFilter, limit: int, before: str | None) -> list[str] | None:
    """Return matching images among the newest; None if more images follow, and too few of these match."""
    one = select(tags.c.key).where(tags.c.image_id == images.c.id, wanted.condition()).limit(1)
    matches = one.correlate(images).scalar_subquery().is_not(None).label("matches")
    query = select(images.c.id, matches).where(not_deleted()).order_by(images.c.id.desc())
    found: list[str] = []
    walked = 0
    while walked < _WALKED:
        width = min(2 * limit, _WALKED - walked)
        beyond = query if before is None else query.where(images.c.id < before)
        rows = connection.execute(beyond.limit(width)).all()
        found += [row.id for row in rows if row.matches]
        if len(found) >= limit or len(rows) < width:
            return found[:limit]
        walked += width
        before = rows[-1].id
    return None


def _collect(
    connection: Connection, wanted: TagFilter, shown: Sequence[ColumnElement[bool]], limit: int, before: str | None
) -> list[str]:
    ids = select(tags.c.image_id).where(wanted.condition(), *shown).distinct()
    if before is not None:
        ids = ids.where(tags.c.image_id < before)
    return list(connection.execute(ids.order_by(tags.c.image_id.desc()).limit(limit)).scalars())
