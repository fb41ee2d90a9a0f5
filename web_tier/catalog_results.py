"""The catalogue as the collector uses it: results come in, forgotten uploads and stuck batches are found."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, and_, bindparam, case, or_, select, update

from core import layout
from core.messages import Job, Result, TagOptions
from web_tier.catalog import AnyRow, Catalog
from web_tier.catalog_tables import batches, images

_FINISHED = ("succeeded", "failed")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one image ended. One that is `provisional` was found among the dead letters: a later result replaces it."""

    image_id: str
    name: str
    error: str | None
    tags: list[dict[str, Any]]
    caption: str | None
    timings: dict[str, float] | None
    tagger: str | None
    finished_at: float
    provisional: bool = False

    @classmethod
    def of(cls, result: Result) -> Outcome:
        return cls(
            image_id=result.image_id,
            name=result.name,
            error=result.error,
            tags=[tag.model_dump(mode="json") for tag in result.tags],
            caption=result.caption,
            timings=result.timings_ms.model_dump(),
            tagger=result.tagger,
            finished_at=result.finished_at,
        )


@dataclass(frozen=True, slots=True)
class Recorded:
    new: int
    unknown: list[str]
    """Ids that belong to no image of this catalogue."""


class ResultCatalog(Catalog):
    """What the collector does beyond that, in the same manner."""

    def record(self, outcomes: Sequence[Outcome], now: float) -> Recorded:
        """Write down what is new: the first result of an image counts, whatever comes again changes nothing."""
        with self._database.writing() as connection:
            ids = sorted({outcome.image_id for outcome in outcomes})
            query = select(images.c.id, images.c.batch_id, images.c.status, images.c.provisional)
            found = {row.id: row for row in connection.execute(query.where(images.c.id.in_(ids)).with_for_update())}
            chosen: dict[str, Outcome] = {}
            for outcome in sorted(outcomes, key=lambda outcome: outcome.provisional):
                row = found.get(outcome.image_id)
                if row is not None and _replaces(outcome, row):
                    chosen.setdefault(outcome.image_id, outcome)
            self._write(connection, chosen, found, now)
        return Recorded(new=len(chosen), unknown=[id_ for id_ in ids if id_ not in found])

    def _write(self, connection: Connection, chosen: dict[str, Outcome], found: dict[str, AnyRow], now: float) -> None:
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
            rows += [_row(outcome, change - len(group) + 1 + number) for number, outcome in enumerate(group)]
        if rows:
            connection.execute(_UPDATE_IMAGE, rows)

    def unsent(self, before: float, limit: int) -> list[tuple[str, Job]]:
        """Images accepted before `before` whose jobs are not known to be on a queue: pool and job of each."""
        query = (
            select(
                images.c.id, images.c.batch_id, images.c.name, images.c.created_at, batches.c.pool, batches.c.options
            )
            .join(batches, batches.c.id == images.c.batch_id)
            .where(images.c.status == "received", images.c.created_at < before)
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
                        key=layout.image_key(row.batch_id, row.id),
                        name=row.name,
                        tagger=row.pool,
                        submitted_at=row.created_at,
                        options=TagOptions.model_validate(row.options),
                    ),
                )
                for row in connection.execute(query)
            ]

    def waiting_batches(self, unchanged_since: float) -> list[str]:
        """Batches with images that wait for a result, in which nothing has happened since then."""
        query = select(batches.c.id).where(
            batches.c.completed < batches.c.total, batches.c.changed_at <= unchanged_since
        )
        with self._database.reading() as connection:
            return list(connection.execute(query).scalars())

    def waiting_images(self, batch_id: str) -> set[str]:
        """Images of a batch without a result of a worker."""
        query = select(images.c.id).where(
            images.c.batch_id == batch_id,
            or_(images.c.status.not_in(_FINISHED), images.c.provisional),
        )
        with self._database.reading() as connection:
            return set(connection.execute(query).scalars())


def _replaces(outcome: Outcome, row: AnyRow) -> bool:
    return row.status not in _FINISHED or (row.provisional and not outcome.provisional)


_FIELDS = ("error", "tags", "caption", "timings", "tagger", "finished_at", "provisional")
_UPDATE_IMAGE = (
    update(images)
    .where(images.c.id == bindparam("image_id"))
    .values({images.c[name]: bindparam(f"new_{name}") for name in (*_FIELDS, "status", "change")})
)


def _row(outcome: Outcome, change: int) -> dict[str, Any]:
    values = {f"new_{name}": getattr(outcome, name) for name in _FIELDS}
    status = "failed" if outcome.error is not None else "succeeded"
    return values | {"image_id": outcome.image_id, "new_status": status, "new_change": change}
