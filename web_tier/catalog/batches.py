"""Catalogue queries for batches and their images, and the types that the other queries return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BindParameter, Connection, Select, bindparam, func, insert, select, tuple_
from sqlalchemy.exc import IntegrityError

from core.errors import TagfleetError
from core.storage import layout
from web_tier.catalog import changes
from web_tier.catalog.database import AnyRow, Database
from web_tier.catalog.tables import batches, images
from web_tier.catalog.visibility import SHOWN_BATCH, SHOWN_IMAGE, WAITING, in_batch, not_deleted


class BatchClosed(TagfleetError):
    """The batch is closed and takes no more images."""

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"batch {batch_id} is closed and takes no more images; create another one")


class NoSuchBatch(TagfleetError):
    """The catalogue has no batch of this id."""


class KeyReused(TagfleetError):
    """An Idempotency-Key was used before with another payload."""


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as readers see it. Times are Unix seconds."""

    id: str
    pool: str
    options: dict[str, Any]
    metadata: dict[str, Any]
    created_at: float
    closed_at: float | None
    completed_at: float | None
    change: int
    """The latest change number, see `web_tier.catalog.changes`."""
    total: int
    completed: int
    """Images that are done, including failed and cancelled ones."""
    failed: int
    cancelled: int = 0
    cancelled_at: float | None = None
    expired_at: float | None = None
    """When the service closed the batch because its owner had not."""
    changed_at: float = 0.0

    @property
    def status(self) -> str:
        """open, queued, in_progress, completed, expired or cancelled."""
        if self.cancelled_at is not None:
            return "cancelled"
        if self.closed_at is None:
            return "open"
        if self.completed_at is None:
            return "in_progress" if self.completed else "queued"
        return "completed" if self.expired_at is None else "expired"

    @property
    def ended(self) -> bool:
        """Whether all images are done, for good unless the owner retries some."""
        return self.closed_at is not None and (self.completed_at is not None or self.cancelled_at is not None)

    @property
    def final(self) -> bool:
        """Whether the batch has ended and has its last change number. A cancelled batch numbers its images first."""
        return self.closed_at is not None and self.completed_at is not None


@dataclass(frozen=True, slots=True)
class Image:
    """An image as readers see it. Times are Unix seconds."""

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
    """Whether our store has the bytes. False for a refused upload and for a dropped file."""
    edited: bool = False
    """Whether people's edits make the tags differ from the tagger's."""
    origin: str | None = None
    """Address of a file dropped into a bucket, where it stays; includes the object's version if it has one."""
    width: int | None = None
    height: int | None = None
    """Pixels of the upright image, like `width`; None if no worker reported them."""

    @property
    def key(self) -> str:
        """Where the original is: a key of the store, or an address."""
        return self.origin or layout.image_key(self.batch_id, self.id)

    @property
    def is_waiting(self) -> bool:
        """Whether the image has no result yet and may still get one."""
        return self.status in WAITING


@dataclass(frozen=True, slots=True)
class Upload:
    """A file to accept into a batch: its bytes are in the store, or `error` says why it was refused."""

    id: str
    name: str
    sha256: str
    bytes: int
    error: str | None = None
    origin: str | None = None
    """Address of a dropped file, whose job is done already."""


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over all batches. The counts of images include deleted batches."""

    batches: int
    unfinished: int
    images: int
    completed: int
    failed: int
    cancelled: int


BATCH_COLUMNS = [SHOWN_BATCH.get(name, batches.c[name]).label(name) for name in Batch.__dataclass_fields__]
_IMAGE_COLUMNS = [SHOWN_IMAGE.get(name, images.c[name]) for name in Image.__dataclass_fields__]
_READ_BATCH = select(*BATCH_COLUMNS).where(batches.c.id == bindparam("of_batch"), batches.c.deleted_at.is_(None))
_LOCK_BATCH = _READ_BATCH.with_for_update()
_READ_CHANGE = select(batches.c.change).where(batches.c.id == bindparam("of_batch"), batches.c.deleted_at.is_(None))
_RATE_OVER_S = 20.0
_RATE_FROM = 200
"""The rate is measured over the last `_RATE_OVER_S` seconds, on this many images at most."""
_LATEST = (
    select(images.c.finished_at)
    .where(in_batch(bindparam("of_batch")), images.c.tagger.is_not(None))
    .order_by(images.c.change.desc())
    .limit(_RATE_FROM)
    .subquery()
)
_COUNT_LATEST = select(func.count(), func.min(_LATEST.c.finished_at)).where(
    _LATEST.c.finished_at >= bindparam("since", type_=images.c.finished_at.type)
)


class Catalog:
    """Reads and creates batches. Every method is one transaction and may raise Unavailable; times are Unix seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def database(self) -> Database:
        return self._database

    def create_batch(
        self, batch: Batch, *, payload_hash: str, idempotency_key: str | None = None
    ) -> tuple[Batch, bool]:
        """Insert `batch`; return the batch and whether it is new.

        The same key and payload return the batch of the first call. Raises KeyReused if the key was used with another
        payload.
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

    def get_batch(self, batch_id: str) -> Batch:
        """Return a batch. Raises NoSuchBatch."""
        return Batch(*_only(self._database.fetch(_READ_BATCH, {"of_batch": batch_id}), batch_id))

    def list_batches(self, limit: int, before: str | None = None) -> list[Batch]:
        """Return batches, newest first, starting after the batch `before`."""
        age = tuple_(batches.c.created_at, batches.c.id)
        query = select(*BATCH_COLUMNS).where(batches.c.deleted_at.is_(None)).limit(limit)
        query = query.order_by(batches.c.created_at.desc(), batches.c.id.desc())
        if before is not None:
            other = batches.alias()
            then = select(other.c.created_at).where(other.c.id == before).scalar_subquery()
            query = query.where(age < tuple_(then, before))
        return [Batch(*row) for row in self._database.fetch(query)]

    def close_batch(self, batch_id: str, now: float) -> Batch:
        """Close a batch and return it; a closed batch stays as it is. Raises NoSuchBatch."""
        with self._database.writing() as connection:
            changes.close(connection, now, batches.c.id == batch_id)
            return read_batch(connection, batch_id)

    def find_image(self, image_id: str) -> Image | None:
        """Return an image, or None if there is none of this id."""
        found = self._database.fetch(select_images().where(images.c.id == image_id))
        return Image(*found[0]) if found else None

    def list_results(self, batch_id: str, limit: int, after: int = 0) -> list[Image]:
        """Return images in the order of their upload, starting after the position `after`."""
        query = select_images(batch_id).where(images.c.position > after).order_by(images.c.position).limit(limit)
        with self._database.reading() as connection:
            return [Image(*row) for row in connection.execute(query)]

    def list_changes(self, batch_id: str, after: int, limit: int) -> list[Image]:
        """Return images in the order of their latest change, starting after the change number `after`."""
        query = select_images(batch_id).where(images.c.change > after).order_by(images.c.change).limit(limit)
        return [Image(*row) for row in self._database.fetch(query)]

    def read_change(self, batch_id: str) -> int:
        """Return the batch's change number: the cheapest way to see whether anything changed. Raises NoSuchBatch."""
        return int(_only(self._database.fetch(_READ_CHANGE, {"of_batch": batch_id}), batch_id)[0])

    def measure_rate(self, batch_id: str, now: float) -> float | None:
        """Return the images/s finished over the last 20 s; None if fewer than two were."""
        found = self._database.fetch(_COUNT_LATEST, {"of_batch": batch_id, "since": now - _RATE_OVER_S})
        count, first = found[0]
        return count / max(now - first, 0.5) if count >= 2 else None

    def count_all(self) -> Totals:
        """Return counts over all batches."""
        query = select(
            func.count().filter(batches.c.deleted_at.is_(None)),
            func.count().filter(batches.c.completed_at.is_(None), batches.c.deleted_at.is_(None)),
            *(func.coalesce(func.sum(batches.c[name]), 0) for name in ("total", "completed", "failed", "cancelled")),
        )
        return Totals(*self._database.fetch(query)[0])


def select_images(batch_id: str | BindParameter[str] | None = None) -> Select[Any]:
    """Select the columns of `Image` of all visible images, of one batch or of all."""
    return select(*_IMAGE_COLUMNS).where(not_deleted() if batch_id is None else in_batch(batch_id))


def _only(rows: Sequence[AnyRow], batch_id: str) -> AnyRow:
    if not rows:
        raise NoSuchBatch(f"there is no batch {batch_id[:80]!r}")
    return rows[0]


def read_batch(connection: Connection, batch_id: str, *, lock: bool = False) -> Batch:
    """Return a batch; `lock` keeps others from changing it until the transaction ends. Raises NoSuchBatch."""
    found = connection.execute(_LOCK_BATCH if lock else _READ_BATCH, {"of_batch": batch_id}).all()
    return Batch(*_only(found, batch_id))
