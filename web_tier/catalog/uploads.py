"""The catalogue as uploads use it: images are accepted, and recognised by their content."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, func, insert, select, update

from core.util.file_names import same_name
from web_tier.catalog.batches import BatchClosed, Catalog, Image, Upload, read_batch, shown_images
from web_tier.catalog.tables import batches, images
from web_tier.catalog.visibility import in_batch, not_deleted


class UploadCatalog(Catalog):
    """What takes images in, in the same manner."""

    def add_images(self, batch_id: str, uploads: Sequence[Upload], now: float) -> list[Image]:
        """Accept `uploads`, in their order; an image of the same name and content is not added again.

        Gives the image of each, new or there already. A name is the same in all of Unicode's forms, and kept as given.

        Raises NoSuchBatch, BatchClosed.
        """
        with self._database.writing() as connection:
            _lock_open(connection, batch_id)
            hashes = {upload.sha256 for upload in uploads}
            there = shown_images(batch_id).where(images.c.sha256.in_(hashes))
            known = {_content(image): image for image in (Image(*row) for row in connection.execute(there))}
            fresh: dict[tuple[str, str], Upload] = {}
            for upload in uploads:
                if _content(upload) not in known:
                    fresh.setdefault(_content(upload), upload)
            added = insert_images(connection, batch_id, list(fresh.values()), now)
            known.update({_content(image): image for image in added})
        return [known[_content(upload)] for upload in uploads]

    def mark_sent(self, image_ids: Sequence[str]) -> None:
        """Their jobs are on the queue. This is no change that anyone sees, and takes no number.

        Should a power cut undo it, the sweep sends the jobs once more, and a job done twice gives one result.
        """
        with self._database.writing(durable=False) as connection:
            connection.execute(
                update(images).where(images.c.id.in_(image_ids), images.c.status == "received").values(status="queued")
            )

    def accepted(self, image_ids: Sequence[str]) -> list[Image]:
        """These images as they are now, in this order; those that were deleted are left out."""
        with self._database.reading() as connection:
            rows = connection.execute(shown_images().where(images.c.id.in_(image_ids)))
            found = {row.id: Image(*row) for row in rows}
        return [found[image_id] for image_id in image_ids if image_id in found]

    def with_content(self, hashes: Collection[str], batch_id: str | None = None) -> dict[str, Image]:
        """By sha256 the latest image whose bytes have it; of one batch, or of all."""
        there = not_deleted() if batch_id is None else in_batch(batch_id)
        latest = select(func.max(images.c.id)).where(images.c.sha256.in_(hashes), images.c.stored, there)
        query = shown_images().where(images.c.id.in_(latest.group_by(images.c.sha256)))
        with self._database.reading() as connection:
            return {row.sha256: Image(*row) for row in connection.execute(query)}

    def stored_in(self, batch_id: str, hashes: Collection[str]) -> list[Image]:
        """Images of a batch whose bytes have one of these sha256, under whatever name."""
        query = shown_images(batch_id).where(images.c.sha256.in_(hashes))
        with self._database.reading() as connection:
            return [Image(*row) for row in connection.execute(query.where(images.c.stored))]


def _content(of: Image | Upload) -> tuple[str, str]:
    """By what an image of a batch is known: its name, in whatever form, and its bytes."""
    return same_name(of.name), of.sha256


def _lock_open(connection: Connection, batch_id: str) -> None:
    """Nobody else changes the batch until the transaction ends. Raises NoSuchBatch, BatchClosed."""
    if read_batch(connection, batch_id, lock=True).closed_at is not None:
        raise BatchClosed(batch_id)


def insert_images(connection: Connection, batch_id: str, uploads: Sequence[Upload], now: float) -> list[Image]:
    """New rows at the end of a batch that the caller has locked."""
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
