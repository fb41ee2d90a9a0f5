"""The catalogue as the API uses it: batches, and the images accepted into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, case, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from core.errors import TagfleetError
from web_tier.catalog_tables import batches, images
from web_tier.database import Database


class BatchClosed(TagfleetError):
    """The batch takes no more images."""

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"batch {batch_id} is closed and takes no more images; create another one")


class NoSuchBatch(TagfleetError):
    """The catalogue has no batch of this id."""


class KeyReused(TagfleetError):
    """An Idempotency-Key came back with another payload."""


@dataclass(frozen=True, slots=True)
class Batch:
    id: str
    pool: str
    options: dict[str, Any]
    metadata: dict[str, Any]
    created_at: float
    closed_at: float | None
    completed_at: float | None
    change: int
    """Grows with every change of the batch or of one of its images."""
    total: int
    completed: int
    """Images that reached an end, failed ones included."""
    failed: int

    @property
    def status(self) -> str:
        if self.closed_at is None:
            return "open"
        if self.completed_at is not None:
            return "completed"
        return "in_progress" if self.completed else "queued"


@dataclass(frozen=True, slots=True)
class Image:
    id: str
    batch_id: str
    position: int
    change: int
    name: str
    sha256: str
    bytes: int
    status: str
    error: str | None
    caption: str | None
    tags: list[dict[str, Any]]
    timings: dict[str, float] | None
    tagger: str | None
    created_at: float
    finished_at: float | None


@dataclass(frozen=True, slots=True)
class Upload:
    """An image that lies in the store, or a file that was refused for the reason in `error`."""

    id: str
    name: str
    sha256: str
    bytes: int
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all batches."""

    batches: int
    unfinished: int
    images: int
    completed: int
    failed: int


AnyRow = Row[*tuple[Any, ...]]

_BATCH = [batches.c[name] for name in Batch.__dataclass_fields__]
_IMAGE = [images.c[name] for name in Image.__dataclass_fields__]
_RATE_OVER_S = 20.0
_RATE_FROM = 200


class Catalog:
    """Every method is one transaction and may raise Unavailable; times are Unix seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create_batch(
        self, batch: Batch, *, payload_hash: str, idempotency_key: str | None = None
    ) -> tuple[Batch, bool]:
        """The batch and whether it is new: the same key and payload give the batch of the first call.

        Raises KeyReused where the key belongs to another payload.
        """
        values = {name: getattr(batch, name) for name in Batch.__dataclass_fields__}
        values |= {"changed_at": batch.created_at, "idempotency_key": idempotency_key, "payload_hash": payload_hash}
        try:
            with self._database.writing() as connection:
                connection.execute(insert(batches), values)
        except IntegrityError:
            with self._database.reading() as connection:
                query = select(*_BATCH, batches.c.payload_hash).where(batches.c.idempotency_key == idempotency_key)
                *found, known_hash = connection.execute(query).one()
            if known_hash != payload_hash:
                raise KeyReused("this Idempotency-Key came with another payload before; use a new key") from None
            return Batch(*found), False
        return batch, True

    def batch(self, batch_id: str) -> Batch:
        """Raises NoSuchBatch."""
        with self._database.reading() as connection:
            found = connection.execute(select(*_BATCH).where(batches.c.id == batch_id)).one_or_none()
        return _batch(found, batch_id)

    def batches(self, limit: int, before: str | None = None) -> list[Batch]:
        """Newest first, starting after the batch `before`."""
        query = select(*_BATCH).order_by(batches.c.id.desc()).limit(limit)
        if before is not None:
            query = query.where(batches.c.id < before)
        with self._database.reading() as connection:
            return [Batch(*row) for row in connection.execute(query)]

    def close_batch(self, batch_id: str, now: float) -> Batch:
        """Raises NoSuchBatch; a batch that is closed stays as it is."""
        closing = (
            update(batches)
            .where(batches.c.id == batch_id, batches.c.closed_at.is_(None))
            .values(
                closed_at=now,
                changed_at=now,
                change=batches.c.change + 1,
                completed_at=case((batches.c.completed == batches.c.total, now)),
            )
        )
        with self._database.writing() as connection:
            connection.execute(closing)
            found = connection.execute(select(*_BATCH).where(batches.c.id == batch_id)).one_or_none()
        return _batch(found, batch_id)

    def add_images(self, batch_id: str, uploads: Sequence[Upload], now: float) -> list[Image]:
        """Accept `uploads`, in their order; an image of the same name and content is not added again.

        Gives the image of each, new or there already.

        Raises NoSuchBatch, BatchClosed.
        """
        with self._database.writing() as connection:
            _lock_open(connection, batch_id)
            hashes = {upload.sha256 for upload in uploads}
            there = select(*_IMAGE).where(images.c.batch_id == batch_id, images.c.sha256.in_(hashes))
            known = {(row.name, row.sha256): Image(*row) for row in connection.execute(there)}
            fresh: dict[tuple[str, str], Upload] = {}
            for upload in uploads:
                if (upload.name, upload.sha256) not in known:
                    fresh.setdefault((upload.name, upload.sha256), upload)
            added = _insert(connection, batch_id, list(fresh.values()), now)
            known.update({(image.name, image.sha256): image for image in added})
        return [known[upload.name, upload.sha256] for upload in uploads]

    def mark_sent(self, image_ids: Sequence[str]) -> None:
        """Their jobs are on the queue. This is no change that anyone sees, and takes no number."""
        with self._database.writing() as connection:
            connection.execute(
                update(images).where(images.c.id.in_(image_ids), images.c.status == "received").values(status="queued")
            )

    def image(self, image_id: str) -> Image | None:
        with self._database.reading() as connection:
            found = connection.execute(select(*_IMAGE).where(images.c.id == image_id)).one_or_none()
        return None if found is None else Image(*found)

    def results(self, batch_id: str, limit: int, after: int = 0, statuses: Sequence[str] | None = None) -> list[Image]:
        """Images in the order of their upload, whose position is beyond `after`."""
        query = (
            select(*_IMAGE)
            .where(images.c.batch_id == batch_id, images.c.position > after)
            .order_by(images.c.position)
            .limit(limit)
        )
        if statuses is not None:
            query = query.where(images.c.status.in_(statuses))
        with self._database.reading() as connection:
            return [Image(*row) for row in connection.execute(query)]

    def changes(self, batch_id: str, after: int, limit: int) -> list[Image]:
        """Images as they are now, in the order of their latest change, beyond the change number `after`."""
        query = (
            select(*_IMAGE)
            .where(images.c.batch_id == batch_id, images.c.change > after)
            .order_by(images.c.change)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [Image(*row) for row in connection.execute(query)]

    def change(self, batch_id: str) -> int:
        """The batch's change number, for those who only ask whether anything moved. Raises NoSuchBatch."""
        with self._database.reading() as connection:
            found = connection.execute(select(batches.c.change).where(batches.c.id == batch_id)).one_or_none()
        return int(_known(found, batch_id)[0])

    def rate(self, batch_id: str, now: float) -> float | None:
        """Images/s of this batch over the last seconds; None where there were too few to say."""
        query = (
            select(images.c.finished_at)
            .where(images.c.batch_id == batch_id, images.c.tagger.is_not(None))
            .order_by(images.c.change.desc())
            .limit(_RATE_FROM)
        )
        with self._database.reading() as connection:
            times: list[float] = list(connection.execute(query).scalars())
        finished = [at for at in times if now - at <= _RATE_OVER_S]
        if len(finished) < 2:
            return None
        return len(finished) / max(now - min(finished), 0.5)

    def totals(self) -> Totals:
        query = select(
            func.count(),
            func.count().filter(batches.c.completed_at.is_(None)),
            *(func.coalesce(func.sum(batches.c[name]), 0) for name in ("total", "completed", "failed")),
        )
        with self._database.reading() as connection:
            return Totals(*connection.execute(query).one())


def _known(row: AnyRow | None, batch_id: str) -> AnyRow:
    if row is None:
        raise NoSuchBatch(f"there is no batch {batch_id[:80]!r}")
    return row


def _batch(row: AnyRow | None, batch_id: str) -> Batch:
    return Batch(*_known(row, batch_id))


def _lock_open(connection: Connection, batch_id: str) -> None:
    """Nobody else changes the batch until the transaction ends. Raises NoSuchBatch, BatchClosed."""
    found = connection.execute(select(batches.c.closed_at).where(batches.c.id == batch_id).with_for_update())
    (closed_at,) = _known(found.one_or_none(), batch_id)
    if closed_at is not None:
        raise BatchClosed(batch_id)


def _insert(connection: Connection, batch_id: str, uploads: Sequence[Upload], now: float) -> list[Image]:
    if not uploads:
        return []
    count = len(uploads)
    refused = sum(upload.error is not None for upload in uploads)
    total, change = connection.execute(
        update(batches)
        .where(batches.c.id == batch_id)
        .values(
            total=batches.c.total + count,
            change=batches.c.change + count,
            completed=batches.c.completed + refused,
            failed=batches.c.failed + refused,
            changed_at=now,
        )
        .returning(batches.c.total, batches.c.change)
    ).one()
    added = [
        _accepted(upload, batch_id, total - count + number, change - count + number, now)
        for number, upload in enumerate(uploads, start=1)
    ]
    rows = [{"provisional": False} | {name: getattr(image, name) for name in Image.__slots__} for image in added]
    connection.execute(insert(images), rows)
    return added


def _accepted(upload: Upload, batch_id: str, position: int, change: int, now: float) -> Image:
    return Image(
        id=upload.id,
        batch_id=batch_id,
        position=position,
        change=change,
        name=upload.name,
        sha256=upload.sha256,
        bytes=upload.bytes,
        status="failed" if upload.error else "received",
        error=upload.error,
        caption=None,
        tags=[],
        timings=None,
        tagger=None,
        created_at=now,
        finished_at=now if upload.error else None,
    )
