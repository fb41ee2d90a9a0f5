"""The catalogue as the collector uses it: results come in, forgotten uploads and stuck batches are found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, or_, select, update

from core.domain.messages import Job, Origin, Result
from core.storage import layout
from web_tier.catalog.batch_options import for_jobs, kept
from web_tier.catalog.batches import AnyRow
from web_tier.catalog.tables import batches, images
from web_tier.catalog.tag_rows import Shown, show
from web_tier.catalog.uploads import UploadCatalog
from web_tier.catalog.visibility import STATUS, WAITING, in_batch, not_deleted

_FINISHED = ("succeeded", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one image ended. One that is `provisional` was found among the dead letters: a later result replaces it."""

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
    """Of a dropped file, which the catalogue may not know yet."""
    width: int | None = None
    height: int | None = None

    @classmethod
    def of(cls, result: Result) -> Outcome:
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
    new: int
    replaced: int
    """Of the new ones: results of images that had been given up."""
    unknown: list[Outcome]
    """Those that belong to no image of this catalogue."""


@dataclass(frozen=True, slots=True)
class End:
    """What is known of the end of one image."""

    finished: bool
    provisional: bool
    attempt: int

    def settles(self, attempt: int) -> bool:
        """Whether nobody needs a job of this attempt any more."""
        return self.attempt > attempt or (self.finished and not self.provisional)


class ResultCatalog(UploadCatalog):
    """What the collector does beyond that, in the same manner."""

    def record(self, outcomes: Sequence[Outcome], now: float) -> Recorded:
        """Write down what is new: the first result of an image counts, whatever comes again changes nothing.

        Of its tags those are kept that the batch asked for; what people decided stands over them.
        """
        with self._database.writing() as connection:
            ids = sorted({outcome.image_id for outcome in outcomes})
            locked = _lock_batches_of(connection, ids)
            query = select(images.c.id, images.c.batch_id, images.c.status, images.c.provisional, images.c.attempt)
            rows = connection.execute(query.where(images.c.id.in_(ids)).with_for_update())
            found = {row.id: row for row in rows if row.batch_id in locked}
            chosen: dict[str, Outcome] = {}
            for outcome in sorted(outcomes, key=lambda outcome: outcome.provisional):
                row = found.get(outcome.image_id)
                if row is not None and _replaces(outcome, row, locked[row.batch_id]):
                    wanted = kept(outcome.tags, locked[row.batch_id].options)
                    chosen.setdefault(outcome.image_id, replace(outcome, tags=wanted))
            self._write(connection, chosen, found, now)
        return Recorded(
            new=len(chosen),
            replaced=sum(found[image_id].provisional for image_id in chosen),
            unknown=[outcome for outcome in outcomes if outcome.image_id not in found],
        )

    def ends(self, image_ids: Collection[str]) -> dict[str, End]:
        """What is known of these images, of those that are in the catalogue."""
        query = select(images.c.id, STATUS, images.c.provisional, images.c.attempt).where(not_deleted())
        with self._database.reading() as connection:
            rows = connection.execute(query.where(images.c.id.in_(image_ids)))
            return {row.id: End(row.status in _FINISHED, bool(row.provisional), row.attempt) for row in rows}

    def _write(self, connection: Connection, chosen: dict[str, Outcome], found: dict[str, AnyRow], now: float) -> None:
        if not chosen:
            return
        shown = show(connection, {image_id: outcome.tags for image_id, outcome in chosen.items()})
        by_batch: dict[str, list[Outcome]] = defaultdict(list)
        for outcome in chosen.values():
            by_batch[found[outcome.image_id].batch_id].append(outcome)
        rows: list[dict[str, Any]] = []
        for batch_id in sorted(by_batch):
            group = by_batch[batch_id]
            was_failed = sum(found[outcome.image_id].status == "failed" for outcome in group)
            completed = len(group) - was_failed
            failed = sum(outcome.error is not None for outcome in group) - was_failed
            change = connection.execute(
                update(batches)
                .where(batches.c.id == batch_id)
                .values(
                    change=batches.c.change + len(group),
                    completed=batches.c.completed + completed,
                    failed=batches.c.failed + failed,
                    changed_at=now,
                    completed_at=case(
                        (batches.c.completed_at.is_not(None), batches.c.completed_at),
                        (
                            and_(batches.c.closed_at.is_not(None), batches.c.completed + completed == batches.c.total),
                            now,
                        ),
                    ),
                )
                .returning(batches.c.change)
            ).scalar_one()
            rows += [
                _row(outcome, shown[outcome.image_id], number)
                for number, outcome in enumerate(group, start=change - len(group) + 1)
            ]
        connection.execute(_UPDATE_IMAGE, rows)

    def unsent(self, before: float, limit: int) -> list[tuple[str, Job]]:
        """Images accepted before `before` whose jobs are not known to be on a queue: pool and job of each."""
        query = (
            select(
                images.c.id,
                images.c.batch_id,
                images.c.name,
                images.c.created_at,
                images.c.attempt,
                images.c.origin,
                batches.c.pool,
                batches.c.options,
            )
            .join(batches, batches.c.id == images.c.batch_id)
            .where(
                images.c.status == "received",
                images.c.created_at < before,
                batches.c.deleted_at.is_(None),
                batches.c.cancelled_at.is_(None),
            )
            .order_by(images.c.created_at)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [
                (
                    row.pool,
                    Job(
                        batch_id=row.batch_id,
                        image_id=row.id,
                        key=row.origin or layout.image_key(row.batch_id, row.id),
                        name=row.name,
                        tagger=row.pool,
                        submitted_at=row.created_at,
                        options=for_jobs(row.options),
                        attempt=row.attempt,
                    ),
                )
                for row in connection.execute(query)
            ]

    def waiting_batches(self, unchanged_since: float) -> list[str]:
        """Batches with images that wait for a result, in which nothing has happened since then."""
        query = select(batches.c.id).where(
            batches.c.completed < batches.c.total,
            batches.c.changed_at <= unchanged_since,
            batches.c.deleted_at.is_(None),
            batches.c.cancelled_at.is_(None),
        )
        with self._database.reading() as connection:
            return list(connection.execute(query).scalars())

    def waiting_images(self, batch_id: str) -> set[str]:
        """Images of a batch without a result of a worker."""
        query = select(images.c.id).where(
            in_batch(batch_id),
            or_(images.c.status.not_in(_FINISHED), images.c.provisional),
        )
        with self._database.reading() as connection:
            return set(connection.execute(query).scalars())


def _lock_batches_of(connection: Connection, image_ids: Sequence[str]) -> dict[str, AnyRow]:
    """Options and time of cancellation of each batch that is not deleted.

    Whoever changes images locks their batches first, so that nobody waits in a ring.
    """
    of = select(images.c.batch_id).where(images.c.id.in_(image_ids))
    query = select(batches.c.id, batches.c.options, batches.c.cancelled_at)
    query = query.where(batches.c.id.in_(of), batches.c.deleted_at.is_(None)).order_by(batches.c.id)
    return {row.id: row for row in connection.execute(query.with_for_update())}


def _replaces(outcome: Outcome, row: AnyRow, batch: AnyRow) -> bool:
    if outcome.attempt < row.attempt:
        return False  # since then its owner has had it tried again
    if row.status in WAITING:
        return batch.cancelled_at is None
    return row.provisional and not outcome.provisional


_FIELDS = ("error", "caption", "timings", "tagger", "finished_at", "provisional", "width", "height")
_OTHER_FIELDS = ("tags", "said", "edited", "status", "change")
_UPDATE_IMAGE = (
    update(images)
    .where(images.c.id == bindparam("image_id"))
    .values({images.c[name]: bindparam(f"new_{name}") for name in (*_FIELDS, *_OTHER_FIELDS)})
)


def _row(outcome: Outcome, shown: Shown, change: int) -> dict[str, Any]:
    return {f"new_{name}": getattr(outcome, name) for name in _FIELDS} | {
        "image_id": outcome.image_id,
        "new_tags": shown.tags,
        "new_said": shown.said,
        "new_edited": shown.edited,
        "new_status": "failed" if outcome.error is not None else "succeeded",
        "new_change": change,
    }
