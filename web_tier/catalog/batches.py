"""The catalogue as the API uses it: batches, and the images accepted into them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, Select, case, func, insert, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from core.errors import TagfleetError
from core.storage import layout
from web_tier.catalog.database import Database
from web_tier.catalog.tables import batches, images
from web_tier.catalog.tag_rows import Tagged
from web_tier.catalog.visibility import SHOWN_BATCH, SHOWN_IMAGE, STATUS, WAITING, in_batch, not_deleted


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
    """Images that reached an end, failed and cancelled ones included."""
    failed: int
    cancelled: int = 0
    cancelled_at: float | None = None
    expired_at: float | None = None
    """When the service closed it because its owner had not."""
    changed_at: float = 0.0

    @property
    def status(self) -> str:
        if self.cancelled_at is not None:
            return "cancelled"
        if self.closed_at is None:
            return "open"
        if self.completed_at is None:
            return "in_progress" if self.completed else "queued"
        return "completed" if self.expired_at is None else "expired"

    @property
    def ended(self) -> bool:
        """Whether nothing more happens to it, unless its owner has images tried again."""
        return self.closed_at is not None and (self.completed_at is not None or self.cancelled_at is not None)

    @property
    def told(self) -> bool:
        """Whether it has ended and no change number is still to come: a cancelled one gives its images theirs first."""
        return self.closed_at is not None and self.completed_at is not None


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
    attempt: int = 0
    stored: bool = True
    """Whether its bytes are in the store; those of a file refused at its upload are not."""
    edited: bool = False
    """Whether people changed what the tagger said."""
    origin: str | None = None
    """The address of a file that was dropped into a bucket, and stays there; with its version where it has one."""
    width: int | None = None
    """Pixels of the upright picture, and `height`; None where no worker said."""
    height: int | None = None

    @property
    def key(self) -> str:
        """Where its original lies: under a key of the store, or at an address."""
        return self.origin or layout.image_key(self.batch_id, self.id)

    @property
    def waits(self) -> bool:
        """Whether it has no result yet, and may still get one."""
        return self.status in WAITING


@dataclass(frozen=True, slots=True)
class Upload:
    """An image that lies in the store, or a file that was refused for the reason in `error`."""

    id: str
    name: str
    sha256: str
    bytes: int
    error: str | None = None
    origin: str | None = None
    """Where a dropped file lies; its job is done."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all batches, those of images over deleted batches too."""

    batches: int
    unfinished: int
    images: int
    completed: int
    failed: int
    cancelled: int


AnyRow = Row[*tuple[Any, ...]]

BATCH_COLUMNS = [SHOWN_BATCH.get(name, batches.c[name]).label(name) for name in Batch.__dataclass_fields__]
_IMAGE_COLUMNS = [SHOWN_IMAGE.get(name, images.c[name]) for name in Image.__dataclass_fields__]
_RATE_OVER_S = 20.0
_RATE_FROM = 200


class Catalog:
    """Every method is one transaction and may raise Unavailable; times are Unix seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def database(self) -> Database:
        return self._database

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
                query = select(*BATCH_COLUMNS, batches.c.payload_hash).where(
                    batches.c.idempotency_key == idempotency_key
                )
                *found, known_hash = connection.execute(query).one()
            if known_hash != payload_hash:
                raise KeyReused("this Idempotency-Key came with another payload before; use a new key") from None
            return Batch(*found), False
        return batch, True

    def batch(self, batch_id: str) -> Batch:
        """Raises NoSuchBatch."""
        with self._database.reading() as connection:
            return read_batch(connection, batch_id)

    def batches(self, limit: int, before: str | None = None) -> list[Batch]:
        """Newest first, starting after the batch `before`."""
        age = tuple_(batches.c.created_at, batches.c.id)
        query = select(*BATCH_COLUMNS).where(batches.c.deleted_at.is_(None)).limit(limit)
        query = query.order_by(batches.c.created_at.desc(), batches.c.id.desc())
        if before is not None:
            other = batches.alias()
            then = select(other.c.created_at).where(other.c.id == before).scalar_subquery()
            query = query.where(age < tuple_(then, before))
        with self._database.reading() as connection:
            return [Batch(*row) for row in connection.execute(query)]

    def close_batch(self, batch_id: str, now: float) -> Batch:
        """Raises NoSuchBatch; a batch that is closed stays as it is."""
        closing = (
            update(batches)
            .where(batches.c.id == batch_id, batches.c.closed_at.is_(None), batches.c.deleted_at.is_(None))
            .values(
                closed_at=now,
                changed_at=now,
                change=batches.c.change + 1,
                completed_at=case((batches.c.completed == batches.c.total, now)),
            )
        )
        with self._database.writing() as connection:
            connection.execute(closing)
            return read_batch(connection, batch_id)

    def image(self, image_id: str) -> Image | None:
        with self._database.reading() as connection:
            found = connection.execute(shown_images().where(images.c.id == image_id)).one_or_none()
        return None if found is None else Image(*found)

    def results(
        self,
        batch_id: str,
        limit: int,
        after: int = 0,
        statuses: Sequence[str] | None = None,
        tagged: Tagged | None = None,
    ) -> list[Image]:
        """Images in the order of their upload, whose position is beyond `after`."""
        query = shown_images(batch_id).where(images.c.position > after).order_by(images.c.position).limit(limit)
        if statuses is not None:
            query = query.where(STATUS.in_(statuses))
        if tagged:
            query = query.where(tagged.of_image())
        with self._database.reading() as connection:
            return [Image(*row) for row in connection.execute(query)]

    def changes(self, batch_id: str, after: int, limit: int) -> list[Image]:
        """Images as they are now, in the order of their latest change, beyond the change number `after`."""
        query = shown_images(batch_id).where(images.c.change > after).order_by(images.c.change).limit(limit)
        with self._database.reading() as connection:
            return [Image(*row) for row in connection.execute(query)]

    def change(self, batch_id: str) -> int:
        """The batch's change number, for those who only ask whether anything moved. Raises NoSuchBatch."""
        with self._database.reading() as connection:
            there = select(batches.c.change).where(batches.c.id == batch_id, batches.c.deleted_at.is_(None))
            found = connection.execute(there).one_or_none()
        return int(known_row(found, batch_id)[0])

    def rate(self, batch_id: str, now: float) -> float | None:
        """Images/s of this batch over the last seconds; None where there were too few to say."""
        query = (
            select(images.c.finished_at)
            .where(in_batch(batch_id), images.c.tagger.is_not(None))
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
            func.count().filter(batches.c.deleted_at.is_(None)),
            func.count().filter(batches.c.completed_at.is_(None), batches.c.deleted_at.is_(None)),
            *(func.coalesce(func.sum(batches.c[name]), 0) for name in ("total", "completed", "failed", "cancelled")),
        )
        with self._database.reading() as connection:
            return Totals(*connection.execute(query).one())


def shown_images(batch_id: str | None = None) -> Select[Any]:
    """The columns of Image, of images that readers may see; of one batch, or of all."""
    return select(*_IMAGE_COLUMNS).where(not_deleted() if batch_id is None else in_batch(batch_id))


def known_row(row: AnyRow | None, batch_id: str) -> AnyRow:
    if row is None:
        raise NoSuchBatch(f"there is no batch {batch_id[:80]!r}")
    return row


def read_batch(connection: Connection, batch_id: str, *, lock: bool = False) -> Batch:
    """With `lock` nobody else changes the batch until the transaction ends. Raises NoSuchBatch."""
    query = select(*BATCH_COLUMNS).where(batches.c.id == batch_id, batches.c.deleted_at.is_(None))
    if lock:
        query = query.with_for_update()
    return Batch(*known_row(connection.execute(query).one_or_none(), batch_id))
