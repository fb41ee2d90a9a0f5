"""Catalogue queries for the collector: record results, and find batches that wait for one."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, or_, select

from core.domain.messages import Origin, Result
from web_tier.catalog import changes
from web_tier.catalog.batch_options import select_tags
from web_tier.catalog.database import AnyRow
from web_tier.catalog.many_rows import is_any_of
from web_tier.catalog.tables import batches, images
from web_tier.catalog.tag_rows import SHOWN_TAGS, ToShow, write_shown_tags
from web_tier.catalog.uploads import UploadCatalog
from web_tier.catalog.visibility import STATUS, WAITING, in_batch, not_deleted

_FINISHED = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class ImageOutcome:
    """How one image ended. A `provisional` one comes from a dead letter, and a later result replaces it."""

    batch_id: str
    image_id: str
    name: str
    error: str | None
    tags: list[dict[str, Any]]
    caption: str | None
    timings: dict[str, float] | None
    tagger: str | None
    finished_at: float
    attempt: int = 0
    provisional: bool = False
    origin: Origin | None = None
    """Set for a dropped file, which the catalogue may not know yet."""
    width: int | None = None
    height: int | None = None

    @classmethod
    def of(cls, result: Result) -> ImageOutcome:
        return cls(
            batch_id=result.batch_id,
            image_id=result.image_id,
            name=result.name,
            error=result.error,
            tags=[tag.model_dump(mode="json") for tag in result.tags],
            caption=result.caption,
            timings=result.timings_ms.model_dump(),
            tagger=result.tagger,
            finished_at=result.finished_at,
            attempt=result.attempt,
            origin=result.origin,
            width=result.width,
            height=result.height,
        )


@dataclass(frozen=True, slots=True)
class Recorded:
    """The effect of `ResultCatalog.record`."""

    new: int
    replaced: int
    """How many of the new ones are results of images that had been given up."""
    unknown: list[ImageOutcome]
    """Outcomes of images that this catalogue does not have."""


@dataclass(frozen=True, slots=True)
class RecordedEnd:
    """The end of one image, as the catalogue stores it."""

    finished: bool
    provisional: bool
    attempt: int

    def settles(self, attempt: int) -> bool:
        """Whether a job of this attempt is obsolete."""
        return self.attempt > attempt or (self.finished and not self.provisional)


class ResultCatalog(UploadCatalog):
    """Writes results into the rows of their images."""

    def record(self, outcomes: Sequence[ImageOutcome], now: float) -> Recorded:
        """Record the first outcome of each image; further ones change nothing.

        Keeps the tags that the batch asked for, with people's edits on top.
        """
        with self._database.writing() as connection:
            ids = sorted({outcome.image_id for outcome in outcomes})
            locked = {row.id: row for row in connection.execute(_LOCK_BATCHES, {"ids": ids})}
            rows = connection.execute(_LOCK_IMAGES, {"ids": ids})
            found = {row.id: row for row in rows if row.batch_id in locked}
            chosen: dict[str, ImageOutcome] = {}
            for outcome in sorted(outcomes, key=lambda outcome: outcome.provisional):
                row = found.get(outcome.image_id)
                if row is not None and _replaces(outcome, row, locked[row.batch_id]):
                    tags = select_tags(outcome.tags, locked[row.batch_id].options)
                    chosen.setdefault(outcome.image_id, replace(outcome, tags=tags))
            if chosen:
                _write(connection, chosen, found, now)
        return Recorded(
            new=len(chosen),
            replaced=sum(found[image_id].provisional for image_id in chosen),
            unknown=[outcome for outcome in outcomes if outcome.image_id not in found],
        )

    def would_complete(self, counts: Mapping[str, int]) -> bool:
        """Return whether so many results more, by batch id, would leave no image of one of these batches waiting."""
        rows = self._database.fetch(_LEFT, {"ids": list(counts)})
        return any(left <= counts[batch_id] for batch_id, left in rows)

    def ends(self, image_ids: Collection[str]) -> dict[str, RecordedEnd]:
        """Return the recorded ends of these images by id, without unknown and deleted images."""
        query = select(images.c.id, STATUS, images.c.provisional, images.c.attempt).where(not_deleted())
        rows = self._database.fetch(query.where(images.c.id.in_(image_ids)))
        return {row.id: RecordedEnd(row.status in _FINISHED, bool(row.provisional), row.attempt) for row in rows}

    def waiting_batches(self, unchanged_since: float) -> list[str]:
        """Return the batches with waiting images in which nothing has changed since then."""
        query = select(batches.c.id).where(
            batches.c.completed < batches.c.total,
            batches.c.changed_at <= unchanged_since,
            batches.c.deleted_at.is_(None),
            batches.c.cancelled_at.is_(None),
        )
        return [row.id for row in self._database.fetch(query)]

    def waiting_images(self, batch_id: str) -> set[str]:
        """Return the images of a batch that have no result from a worker."""
        query = select(images.c.id).where(
            in_batch(batch_id),
            or_(images.c.status.not_in(_FINISHED), images.c.provisional),
        )
        return {row.id for row in self._database.fetch(query)}


_LEFT = select(batches.c.id, batches.c.total - batches.c.completed).where(is_any_of(batches.c.id, "ids"))
_LOCK_BATCHES = changes.lock_batches_of_images(batches.c.id, batches.c.options, batches.c.cancelled_at).where(
    batches.c.deleted_at.is_(None)
)
"""Lock the batches of images, without deleted ones."""
_LOCK_IMAGES = (
    select(images.c.id, images.c.batch_id, images.c.position, images.c.status, images.c.provisional, images.c.attempt)
    .where(is_any_of(images.c.id, "ids"))
    .with_for_update()
)


def _replaces(outcome: ImageOutcome, row: AnyRow, batch: AnyRow) -> bool:
    if outcome.attempt < row.attempt:
        return False  # the owner has retried the image since
    if row.status in WAITING:
        return batch.cancelled_at is None
    return row.provisional and not outcome.provisional


_FIELDS = ("error", "caption", "timings", "tagger", "finished_at", "provisional", "width", "height")
_UPDATE_IMAGE = changes.image_update(*_FIELDS, *SHOWN_TAGS, "status")


def _write(connection: Connection, chosen: Mapping[str, ImageOutcome], found: Mapping[str, AnyRow], now: float) -> None:
    """Update the images, and the counters of their batches. The batches are locked."""
    shown = write_shown_tags(
        connection,
        {id: ToShow(found[id].batch_id, found[id].position, outcome.tags) for id, outcome in chosen.items()},
    )
    by_batch: dict[str, list[ImageOutcome]] = defaultdict(list)
    for outcome in chosen.values():
        by_batch[found[outcome.image_id].batch_id].append(outcome)
    rows: list[dict[str, Any]] = []
    for batch_id in sorted(by_batch):
        group = by_batch[batch_id]
        was_failed = sum(found[outcome.image_id].status == "failed" for outcome in group)
        failed = sum(outcome.error is not None for outcome in group)
        counts = changes.Counts(completed=len(group) - was_failed, failed=failed - was_failed)
        numbers = changes.advance(connection, batch_id, now, by=len(group), counts=counts)
        rows += [
            changes.image_values(
                outcome.image_id,
                number,
                **{name: getattr(shown[outcome.image_id], name) for name in SHOWN_TAGS},
                status="failed" if outcome.error is not None else "succeeded",
                **{name: getattr(outcome, name) for name in _FIELDS},
            )
            for number, outcome in zip(numbers, group, strict=True)
        ]
    _UPDATE_IMAGE.execute(connection, rows)
