"""Catalogue queries for taking images in: accept uploads, recognise known content, find jobs to send."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, bindparam, func, select, update

from core.util.file_names import same_name
from web_tier.catalog import changes
from web_tier.catalog.batches import (
    BATCH_COLUMNS,
    Batch,
    BatchClosed,
    Catalog,
    Image,
    Upload,
    read_batch,
    select_images,
)
from web_tier.catalog.many_rows import insert_many, is_any_of
from web_tier.catalog.tables import batches, images
from web_tier.catalog.visibility import in_batch, not_deleted

_WITH_HASHES = select_images(bindparam("of_batch")).where(is_any_of(images.c.sha256, "hashes"))
_RECEIVED = (
    select(images.c.id)
    .where(is_any_of(images.c.id, "ids"), images.c.status == "received")
    .with_for_update(key_share=True, skip_locked=True)
)
"""It locks images but not their batches, so it must not wait: the other transaction may wait for one of these images.

An image that another transaction changes is skipped. It gets a result, or the sweep sends its job again.
"""
_MARK_SENT = update(images).where(images.c.id.in_(_RECEIVED)).values(status="queued")
_INSERT = insert_many(images, "provisional", *Image.__slots__)


class UploadCatalog(Catalog):
    """Adds images to batches."""

    def add_images(self, batch_id: str, uploads: Sequence[Upload], now: float) -> list[Image]:
        """Accept `uploads` in their order; return the image of each, whether it is new or was there before.

        An upload with the name and content of an image of this batch adds none. Two Unicode forms of a name are the
        same name; the image keeps the form given first. Raises NoSuchBatch, BatchClosed.
        """
        return self._database.write(lambda connection: _add_images(connection, batch_id, uploads, now))

    def mark_sent(self, image_ids: Sequence[str]) -> None:
        """Record that the jobs of these images are on the queue. No reader sees this, so it takes no change number.

        If a power cut undoes it, the sweep sends the jobs again. A job done twice gives one result.
        """
        self._database.write(lambda connection: connection.execute(_MARK_SENT, {"ids": list(image_ids)}), durable=False)

    def unsent(self, accepted_before: float, limit: int) -> list[tuple[Batch, Image]]:
        """Return images accepted before then whose jobs may not be on a queue, the oldest first, with their batches."""
        query = (
            select_images()
            .join(batches, batches.c.id == images.c.batch_id)
            .where(
                images.c.status == "received", images.c.created_at < accepted_before, batches.c.cancelled_at.is_(None)
            )
            .order_by(images.c.created_at)
            .limit(limit)
        )
        with self._database.reading() as connection:
            found = [Image(*row) for row in connection.execute(query)]
            of = select(*BATCH_COLUMNS).where(batches.c.id.in_({image.batch_id for image in found}))
            by_id = {batch.id: batch for batch in (Batch(*row) for row in connection.execute(of))}
        return [(by_id[image.batch_id], image) for image in found]

    def accepted(self, image_ids: Sequence[str]) -> list[Image]:
        """Return these images in this order, without deleted and unknown ones."""
        rows = self._database.fetch(select_images().where(images.c.id.in_(image_ids)))
        found = {row.id: Image(*row) for row in rows}
        return [found[image_id] for image_id in image_ids if image_id in found]

    def with_content(self, hashes: Collection[str], batch_id: str | None = None) -> dict[str, Image]:
        """Return by sha256 the latest image with these bytes in the store, of one batch or of all."""
        there = not_deleted() if batch_id is None else in_batch(batch_id)
        latest = select(func.max(images.c.id)).where(images.c.sha256.in_(hashes), images.c.stored, there)
        query = select_images().where(images.c.id.in_(latest.group_by(images.c.sha256)))
        return {row.sha256: Image(*row) for row in self._database.fetch(query)}

    def stored_in(self, batch_id: str, hashes: Collection[str]) -> list[Image]:
        """Return the images of a batch that have one of these sha256 and whose bytes are in the store."""
        query = select_images(batch_id).where(images.c.sha256.in_(hashes), images.c.stored)
        return [Image(*row) for row in self._database.fetch(query)]


def _add_images(connection: Connection, batch_id: str, uploads: Sequence[Upload], now: float) -> list[Image]:
    batch = read_batch(connection, batch_id, lock=True)
    if batch.closed_at is not None:
        raise BatchClosed(batch_id)
    hashes = list({upload.sha256 for upload in uploads})
    there = connection.execute(_WITH_HASHES, {"of_batch": batch_id, "hashes": hashes})
    known = {_content(image): image for image in (Image(*row) for row in there)}
    fresh: dict[tuple[str, str], Upload] = {}
    for upload in uploads:
        if _content(upload) not in known:
            fresh.setdefault(_content(upload), upload)
    added = insert_images(connection, batch_id, batch.total, list(fresh.values()), now)
    known.update({_content(image): image for image in added})
    return [known[_content(upload)] for upload in uploads]


def _content(of: Image | Upload) -> tuple[str, str]:
    """Return what identifies an image within its batch: its name, in one Unicode form, and its bytes."""
    return same_name(of.name), of.sha256


def insert_images(
    connection: Connection, batch_id: str, total: int, uploads: Sequence[Upload], now: float
) -> list[Image]:
    """Append images to a batch of `total` images that the caller has locked."""
    if not uploads:
        return []
    refused = sum(upload.error is not None for upload in uploads)
    counts = changes.Counts(total=len(uploads), completed=refused, failed=refused)
    numbers = changes.advance(connection, batch_id, now, by=len(uploads), counts=counts)
    added = [
        Image(
            id=upload.id,
            batch_id=batch_id,
            position=position,
            change=number,
            name=upload.name,
            sha256=upload.sha256,
            bytes=upload.bytes,
            status="failed" if upload.error else "received" if upload.origin is None else "queued",
            error=upload.error,
            caption=None,
            tags=[],
            timings=None,
            tagger=None,
            created_at=now,
            finished_at=now if upload.error else None,
            stored=upload.error is None and upload.origin is None,
            origin=upload.origin,
        )
        for position, (number, upload) in enumerate(zip(numbers, uploads, strict=True), start=total + 1)
    ]
    rows = [{"provisional": False} | {name: getattr(image, name) for name in Image.__slots__} for image in added]
    _INSERT.execute(connection, rows)
    return added
