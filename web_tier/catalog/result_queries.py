"""Pages of a batch's images, in any order and with any filter.

1. Without a filter, an index has the images in each order.
2. In the order of upload, one filter is answered by ranges of an index: of the statuses, of the tags, or of the
   confidences in whole per cent. `Ranges` merges them.
3. Otherwise images are walked in their order and checked, up to `_WALKED` of them. That fills the page if many match.
   If not, what matches is collected from indexes and then sorted.
4. While rows of `tags` are unplaced, images are walked in their order and checked for however long it takes.

Only the last two can take longer in a larger batch: the third by the number of images that match.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from sqlalchemy import (
    ColumnElement,
    CompoundSelect,
    Connection,
    Float,
    Select,
    and_,
    bindparam,
    case,
    func,
    intersect,
    literal_column,
    select,
    true,
)

from web_tier.catalog.batches import Image, select_images
from web_tier.catalog.database import AnyRow, Database
from web_tier.catalog.index_ranges import Ranges
from web_tier.catalog.tables import PERCENT, batches, images, tags
from web_tier.catalog.tag_keys import find_keys
from web_tier.catalog.tag_rows import TagFilter, has_unplaced
from web_tier.catalog.visibility import STATUS, WAITING

Order = Literal["upload", "latest", "surest", "unsure"]
"""By position; by change number, the latest first; by the highest confidence of an image's tags, from either end.

Of equally sure images the later upload comes first in the order `surest` and last in `unsure`. Images without a
confidence come last in both, in the order of their upload.
"""

_WALKED = 1000
_FIRST = -1
_ANY = TagFilter()


@dataclass(frozen=True, slots=True)
class Place:
    """A place in an order, beyond which the next page begins.

    `number` is a position, or a change number in the order `latest`. `surest` is the confidence in orders by it.
    """

    number: int
    surest: float | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """The images to return: with one of these statuses, as readers see them, and with such a tag."""

    statuses: Sequence[str] | None = None
    tagged: TagFilter = _ANY
    order: Order = "upload"

    @property
    def filters(self) -> bool:
        return self.statuses is not None or bool(self.tagged)


@dataclass(frozen=True, slots=True)
class ResultsPage:
    """Images in the wanted order. `end` is the place of the last one; None if no image comes after it."""

    images: list[Image]
    end: Place | None


class ResultQueries:
    """Reads the images of batches. May raise Unavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, batch_id: str, wanted: Wanted, limit: int, after: Place | None = None) -> ResultsPage:
        """Return up to `limit` images beyond a place; none if there is no such batch."""
        with self._database.reading() as connection:
            asked = _Asked(connection, batch_id, wanted.order)
            by_tags = bool(wanted.tagged) or wanted.order in _BY_CONFIDENCE
            if not wanted.filters or (by_tags and has_unplaced(connection)):
                return _read_rows(asked, wanted, limit, after)
            cancelling = connection.execute(_BATCH, {"of_batch": batch_id}).one_or_none()
            if cancelling is None:
                return ResultsPage([], None)
            filtered = _Filters(_stored_as(wanted.statuses, cancelled=cancelling[0] is not None), wanted.tagged)
            return _read_filtered(asked, filtered, limit, after)


_BATCH = select(batches.c.cancelled_at).where(batches.c.id == bindparam("of_batch"), batches.c.deleted_at.is_(None))


def _stored_as(statuses: Sequence[str] | None, *, cancelled: bool) -> Sequence[str] | None:
    """Return the statuses in the rows of images that readers see with one of `statuses`."""
    if statuses is None or not cancelled:
        return statuses
    seen = [status for status in statuses if status not in WAITING]
    return [*seen, *WAITING] if "cancelled" in seen else seen


@dataclass(frozen=True, slots=True)
class _Asked:
    """A batch in an order, within a transaction; and the columns of images to order by."""

    connection: Connection
    batch_id: str
    order: Order
    position: ColumnElement[Any] = images.c.position
    change: ColumnElement[Any] = images.c.change
    surest: ColumnElement[Any] = images.c.surest

    def rows(self, query: Select[Any], limit: int, after: Place | None) -> list[AnyRow]:
        """Return rows of a query of images, in the order."""
        found: list[AnyRow] = []
        for conditions, by in self._stretches(after):
            if len(found) < limit:
                order = [column.desc() if descending else column.asc() for column, descending in by]
                found += self.connection.execute(query.where(*conditions).order_by(*order).limit(limit - len(found)))
        return found

    def sorting(self) -> _Asked:
        """Return the same with columns as expressions: the database then sorts, and walks no index of the order."""
        return replace(self, position=self.position + 0, change=self.change + 0, surest=self.surest + 0)

    def place(self, row: AnyRow) -> Place:
        if self.order in _BY_CONFIDENCE:
            return Place(row.position, row.surest)
        return Place(row.change if self.order == "latest" else row.position)

    def _stretches(self, after: Place | None) -> Iterator[_Stretch]:
        """Yield the stretches of an index that together are the images beyond `after`, in the order."""
        if self.order == "upload":
            yield ([] if after is None else [self.position > after.number]), [(self.position, False)]
        elif self.order == "latest":
            yield ([] if after is None else [self.change < after.number]), [(self.change, True)]
        else:
            yield from self._stretches_by_confidence(after)

    def _stretches_by_confidence(self, after: Place | None) -> Iterator[_Stretch]:
        down = self.order == "surest"
        if after is None:
            yield [self.surest.is_not(None)], [(self.surest, down), (self.position, down)]
        elif after.surest is not None:
            beyond = self.position < after.number if down else self.position > after.number
            yield [self.surest == after.surest, beyond], [(self.position, down)]
            less_sure = self.surest < after.surest if down else self.surest > after.surest
            yield [less_sure], [(self.surest, down), (self.position, down)]
        start = [] if after is None or after.surest is not None else [self.position > after.number]
        # PostgreSQL takes the index for both columns only if both are named
        yield [self.surest.is_(None), *start], [(self.surest, False), (self.position, False)]


_Stretch = tuple[list[ColumnElement[bool]], list[tuple[ColumnElement[Any], bool]]]
"""Conditions, and the columns to sort by, each with whether it descends."""
_BY_CONFIDENCE = ("surest", "unsure")
_OF_ROWS = (
    select(func.max(case((tags.c.source == "person", 1.0), else_=tags.c.confidence)))
    .where(tags.c.image_id == images.c.id)
    .correlate(images)
    .scalar_subquery()
)
"""What `images.surest` is once no row is unplaced."""


def _read_rows(asked: _Asked, wanted: Wanted, limit: int, after: Place | None) -> ResultsPage:
    """Walk the images in their order, and check each."""
    if wanted.order in _BY_CONFIDENCE and has_unplaced(asked.connection):
        asked = replace(asked, surest=_OF_ROWS)
    query = select_images(asked.batch_id).add_columns(asked.surest.label("surest"))
    if wanted.statuses is not None:
        query = query.where(STATUS.in_(wanted.statuses))
    if wanted.tagged:
        query = query.where(wanted.tagged.image_condition())
    rows = asked.rows(query, limit, after)
    end = asked.place(rows[-1]) if rows and len(rows) == limit else None
    return ResultsPage([Image(*row[:-1]) for row in rows], end)


@dataclass(frozen=True, slots=True)
class _Filters:
    """Filters by what the rows say: by their statuses, and by tags."""

    statuses: Sequence[str] | None
    tagged: TagFilter

    def ranges(self, asked: _Asked) -> tuple[Ranges, Sequence[Any]] | None:
        """Return ranges of an index by position, and their keys; None if one index does not suffice."""
        of_batch = images.c.batch_id == asked.batch_id
        if self.statuses is not None:
            return None if self.tagged else (Ranges(images.c.status, images.c.position, [of_batch]), self.statuses)
        if self.tagged.names_a_tag:
            keys = find_keys(asked.connection, self.tagged, asked.batch_id)
            of_tags = tags.c.batch_id == asked.batch_id, *self.tagged.sure_enough()
            return None if keys is None else (Ranges(tags.c.key, tags.c.position, of_tags), keys)
        least = self.tagged.min_confidence or 0.0
        lowest = math.floor(least * 100 + 0.01 - 1e-9)  # databases round halves differently
        percents = [float(percent) for percent in range(max(0, lowest), 101)]
        sure = of_batch, images.c.surest.is_not(None), images.c.surest + 0 >= least
        return Ranges(literal_column(PERCENT, Float()), images.c.position, sure), percents

    def matches(self) -> ColumnElement[bool]:
        """Match rows of images one by one, whatever the database believes about how many match."""
        conditions: list[ColumnElement[bool]] = []
        if self.statuses is not None:
            conditions.append(images.c.status.in_(self.statuses))
        if self.tagged.min_confidence is not None:
            conditions.append(images.c.surest >= self.tagged.min_confidence)
        if self.tagged.names_a_tag:
            one = select(tags.c.key).where(tags.c.image_id == images.c.id, self.tagged.condition()).limit(1)
            conditions.append(one.correlate(images).scalar_subquery().is_not(None))
        return and_(true(), *conditions)

    def positions(self, batch_id: str) -> CompoundSelect[Any]:
        """Select the positions of all images that match, from indexes alone."""
        sets: list[Select[Any]] = []
        of_batch = select(images.c.position).where(images.c.batch_id == batch_id)
        if self.statuses is not None:
            sets.append(of_batch.where(images.c.status.in_(self.statuses)))
        if self.tagged.names_a_tag:
            sets.append(select(tags.c.position).where(tags.c.batch_id == batch_id, self.tagged.condition()))
        elif self.tagged.min_confidence is not None:
            sets.append(of_batch.where(images.c.surest >= self.tagged.min_confidence))
        return intersect(*sets)


def _read_filtered(asked: _Asked, filtered: _Filters, limit: int, after: Place | None) -> ResultsPage:
    ranges = filtered.ranges(asked) if asked.order == "upload" else None
    if ranges is not None:
        by, keys = ranges
        start = _FIRST if after is None else after.number
        places = [Place(at) for at in by.first(asked.connection, keys, start, limit)]
        positions = [place.number for place in places]
    else:
        rows = _walk(asked, filtered, limit, after)
        places = [asked.place(row) for row in rows]
        positions = [row.position for row in rows]
    end = places[-1] if places and len(places) == limit else None
    return ResultsPage(_fetch(asked, positions), end)


def _fetch(asked: _Asked, positions: Sequence[int]) -> list[Image]:
    """Return the images at these positions, which exist.

    PostgreSQL looks each one up. By a condition on the batch it would read all its images, if it expects few.
    """
    if not positions:
        return []
    at = Ranges(images.c.position, images.c.id, [images.c.batch_id == asked.batch_id])
    ids = [found[0] for found in at.read(asked.connection, [(position, None) for position in positions], 1)]
    by_id = {row.id: Image(*row) for row in asked.connection.execute(select_images().where(images.c.id.in_(ids)))}
    return [by_id[image_id] for image_id in ids]


def _walk(asked: _Asked, filtered: _Filters, limit: int, after: Place | None) -> list[AnyRow]:
    """Return the places of matching images: among the next `_WALKED`, or else by collecting and sorting all."""
    columns = images.c.position, images.c.change, images.c.surest
    of_batch = select(*columns).where(images.c.batch_id == asked.batch_id)
    checked = of_batch.add_columns(filtered.matches().label("matches"))
    found: list[AnyRow] = []
    walked = 0
    while walked < _WALKED:
        width = min(2 * limit, _WALKED - walked)
        rows = asked.rows(checked, width, after)
        found += [row for row in rows if row.matches]
        if len(found) >= limit or len(rows) < width:
            return found[:limit]
        walked += width
        after = asked.place(rows[-1])
    matching = of_batch.where(images.c.position.in_(filtered.positions(asked.batch_id)))
    return found + asked.sorting().rows(matching, limit - len(found), after)
