"""Catalogue queries for what happens to whole batches: cancel, retry, expire and delete them."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import ColumnElement, Connection, and_, or_, select, update

from core.domain.dropped_files import is_drop
from core.errors import TagfleetError
from web_tier.catalog import changes, tag_counts
from web_tier.catalog.batches import Batch, Catalog, Image, NoSuchBatch, read_batch, select_images
from web_tier.catalog.database import AnyRow
from web_tier.catalog.pace import Pace
from web_tier.catalog.tables import batches, images
from web_tier.catalog.visibility import WAITING, belongs_to, in_batch

_NOT_DELETED = batches.c.deleted_at.is_(None)


class BatchCancelled(TagfleetError):
    """The batch is cancelled, so none of its images can be retried."""

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"batch {batch_id} was cancelled; add its images to another batch to have them tagged")


class NotCancellable(TagfleetError):
    """The batch collects the files dropped into a folder, and goes on for as long as files come."""

    def __init__(self, batch_id: str) -> None:
        super().__init__(
            f"batch {batch_id} collects the files that are dropped into a folder and cannot be cancelled; "
            "take files out of the folder, or delete the batch: the files stay where they are"
        )


class LifecycleCatalog(Catalog):
    """Changes the state of batches."""

    def cancel(self, batch_id: str, now: float) -> Batch:
        """Close the batch and cancel its waiting images; a batch that has ended stays as it is.

        Readers see the batch as cancelled from now on. `cancel_some` updates the rows of its images later. Raises
        NoSuchBatch, NotCancellable.
        """
        with self._database.writing() as connection:
            batch = read_batch(connection, batch_id, lock=True)
            if is_drop(batch_id):
                raise NotCancellable(batch_id)
            if batch.ended:
                return batch
            closed_at = now if batch.closed_at is None else batch.closed_at
            changes.advance(connection, batch_id, now, closed_at=closed_at, cancelled_at=now, completed_at=None)
            return read_batch(connection, batch_id)

    def cancelling(self) -> list[str]:
        """Return the cancelled batches that are not complete: rows of images, or the end, are still to be written."""
        return self._ids(_NOT_DELETED, batches.c.cancelled_at.is_not(None), batches.c.completed_at.is_(None))

    def waiting_after(self, batch_id: str, position: int, limit: int) -> list[tuple[str, int]]:
        """Return ids and positions of images whose rows say that they wait, starting after `position`."""
        query = select(images.c.id, images.c.position).where(in_batch(batch_id), images.c.position > position)
        query = query.where(images.c.status.in_(WAITING)).order_by(images.c.position).limit(limit)
        with self._database.reading() as connection:
            return [(row.id, row.position) for row in connection.execute(query)]

    def cancel_some(self, batch_id: str, image_ids: Sequence[str], pace: Pace) -> None:
        """Mark these images of a cancelled batch as cancelled. `end_cancelled` completes the batch afterwards."""
        with self._database.writing(durable=False) as connection, pace.measuring():
            batch = _lock_cancelling(connection, batch_id)
            if batch is None:
                return
            waiting = and_(images.c.id.in_(image_ids), belongs_to(batch_id), images.c.status.in_(WAITING))
            values = {"status": "cancelled", "finished_at": batch.cancelled_at}
            count = changes.renumber(connection, batch.change, waiting, values)
            counts = changes.Counts(completed=count, cancelled=count)
            changes.advance(connection, batch_id, batch.changed_at, by=count, counts=counts)

    def end_cancelled(self, batch_id: str) -> None:
        """Complete a cancelled batch whose images are all marked as cancelled."""
        with self._database.writing() as connection:
            batch = _lock_cancelling(connection, batch_id)
            if batch is not None:
                changes.advance(connection, batch_id, batch.changed_at, completed_at=batch.cancelled_at)

    def failed_images(self, batch_id: str) -> list[str]:
        """Return the failed images whose bytes still exist. Raises NoSuchBatch, BatchCancelled."""
        query = select(images.c.id).where(in_batch(batch_id), _CAN_BE_RETRIED).order_by(images.c.position)
        with self._database.reading() as connection:
            if read_batch(connection, batch_id).cancelled_at is not None:
                raise BatchCancelled(batch_id)
            return list(connection.execute(query).scalars())

    def retry(self, batch_id: str, image_ids: Sequence[str], now: float) -> list[Image]:
        """Make failed images wait again as if just accepted; return the reset images.

        Results of earlier attempts no longer count. Raises NoSuchBatch, BatchCancelled.
        """
        with self._database.writing() as connection:
            batch = read_batch(connection, batch_id, lock=True)
            if batch.cancelled_at is not None:
                raise BatchCancelled(batch_id)
            failed = and_(images.c.id.in_(image_ids), belongs_to(batch_id), _CAN_BE_RETRIED)
            afresh = {"status": "received", "provisional": False, "attempt": images.c.attempt + 1}
            count = changes.renumber(connection, batch.change, failed, afresh | dict.fromkeys(_OF_A_RESULT))
            if not count:
                return []
            counts = changes.Counts(completed=-count, failed=-count)
            changes.advance(connection, batch_id, now, by=count, counts=counts)
            query = select_images(batch_id).where(images.c.change > batch.change)
            return [Image(*row) for row in connection.execute(query.order_by(images.c.change))]

    def delete(self, batch_id: str, now: float) -> None:
        """Hide the batch and its images from every reader, by changing one row. Raises NoSuchBatch.

        `web_tier.services.removal` removes the images afterwards.
        """
        marking = (
            update(batches)
            .where(batches.c.id == batch_id, _NOT_DELETED)
            .values(
                deleted_at=now,
                changed_at=now,
                idempotency_key=None,
                options={},
                metadata={},
                removed=0,
                cleared_at=None,
                purged_at=None,
            )
        )
        with self._database.writing() as connection:
            if not connection.execute(marking).rowcount:
                raise NoSuchBatch(f"there is no batch {batch_id[:80]!r}")
            tag_counts.subtract_batch(connection, batch_id)

    def deleted(self, batch_ids: Collection[str]) -> set[str]:
        """Return which of these batches are deleted."""
        query = select(batches.c.id).where(batches.c.id.in_(batch_ids), ~_NOT_DELETED)
        with self._database.reading() as connection:
            return set(connection.execute(query).scalars())

    def abandoned(self, unchanged_since: float) -> list[str]:
        """Return the open batches in which nothing has changed since then."""
        return self._ids(_NOT_DELETED, batches.c.closed_at.is_(None), batches.c.changed_at < unchanged_since)

    def expire(self, batch_id: str, unchanged_since: float, now: float) -> bool:
        """Close a batch for its owner, unless it has changed after all; return whether it was closed."""
        unchanged = batches.c.id == batch_id, batches.c.changed_at < unchanged_since
        with self._database.writing() as connection:
            return changes.close(connection, now, *unchanged, expired_at=now)

    def completed_before(self, then: float) -> list[str]:
        """Return the batches that were completed before then."""
        return self._ids(_NOT_DELETED, batches.c.completed_at < then)

    def _ids(self, *conditions: ColumnElement[bool]) -> list[str]:
        with self._database.reading() as connection:
            return list(connection.execute(select(batches.c.id).where(*conditions).order_by(batches.c.id)).scalars())


_CAN_BE_RETRIED = and_(images.c.status == "failed", or_(images.c.stored, images.c.origin.is_not(None)))
_OF_A_RESULT = ("error", "caption", "timings", "tagger", "finished_at")


def _lock_cancelling(connection: Connection, batch_id: str) -> AnyRow | None:
    """Lock a batch that is being cancelled; None if that is over or the batch is deleted."""
    columns = select(batches.c.change, batches.c.cancelled_at, batches.c.changed_at)
    being_cancelled = batches.c.cancelled_at.is_not(None), batches.c.completed_at.is_(None)
    which = columns.where(batches.c.id == batch_id, _NOT_DELETED, *being_cancelled)
    return connection.execute(which.with_for_update()).one_or_none()
