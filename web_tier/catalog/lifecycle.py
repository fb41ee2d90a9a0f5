"""The catalogue as batches live in it: cancelled, tried again, closed for their owner, deleted."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, func, or_, select, update

from core.domain.notifications import is_drop
from core.errors import TagfleetError
from web_tier.catalog.batches import BATCH_COLUMNS, AnyRow, Batch, Catalog, Image, NoSuchBatch, read_batch, shown_images
from web_tier.catalog.pace import Pace
from web_tier.catalog.tables import batches, images
from web_tier.catalog.visibility import WAITING, belongs_to, in_batch

_THERE = batches.c.deleted_at.is_(None)


class BatchCancelled(TagfleetError):
    """Nothing of a cancelled batch is tried again."""

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"batch {batch_id} was cancelled; add its images to another one to have them tagged")


class BatchStands(TagfleetError):
    """A batch that gathers what is dropped into a folder has no end that its owner could bring about."""

    def __init__(self, batch_id: str) -> None:
        super().__init__(
            f"batch {batch_id} gathers the files that are dropped into a folder and cannot be cancelled; "
            "take files out of the folder, or delete the batch: the files stay where they are"
        )


class LifecycleCatalog(Catalog):
    """What becomes of whole batches, in the same manner."""

    def cancel(self, batch_id: str, now: float) -> Batch:
        """Close the batch and cancel what still waits; results stay. A batch that has ended stays as it is.

        Its readers see it cancelled from now on; `cancel_some` brings the rows of its images after it.

        Raises NoSuchBatch, BatchStands.
        """
        with self._database.writing() as connection:
            batch = read_batch(connection, batch_id, lock=True)
            if is_drop(batch_id):
                raise BatchStands(batch_id)
            if batch.ended:
                return batch
            return _changed(
                connection,
                batch_id,
                now,
                change=batches.c.change + 1,  # one for the batch, which changes without any image too
                closed_at=func.coalesce(batches.c.closed_at, now),
                cancelled_at=now,
            )

    def cancelling(self) -> list[str]:
        """Cancelled batches with images whose rows do not say so yet, or that have not ended yet."""
        return self._ids(_THERE, batches.c.cancelled_at.is_not(None), batches.c.completed_at.is_(None))

    def waiting_after(self, batch_id: str, position: int, limit: int) -> list[tuple[str, int]]:
        """Ids and positions of images of a batch, beyond `position`, whose rows say that they wait."""
        query = select(images.c.id, images.c.position).where(in_batch(batch_id), images.c.position > position)
        query = query.where(images.c.status.in_(WAITING)).order_by(images.c.position).limit(limit)
        with self._database.reading() as connection:
            return [(row.id, row.position) for row in connection.execute(query)]

    def cancel_some(self, batch_id: str, image_ids: Sequence[str], pace: Pace) -> None:
        """Write down that these images of a cancelled batch are; the batch ends with `end_cancelled`."""
        with self._database.writing(durable=False) as connection, pace.measuring():
            batch = _cancelling(connection, batch_id)
            if batch is None:
                return
            waiting = and_(images.c.id.in_(image_ids), belongs_to(batch_id), images.c.status.in_(WAITING))
            values = {"status": "cancelled", "finished_at": batch.cancelled_at}
            count = _renumber(connection, batch.change, waiting, values)
            _changed(
                connection,
                batch_id,
                batch.changed_at,
                change=batches.c.change + count,
                completed=batches.c.completed + count,
                cancelled=batches.c.cancelled + count,
            )

    def end_cancelled(self, batch_id: str) -> None:
        """All images of a cancelled batch say so: nothing more happens to it."""
        with self._database.writing() as connection:
            batch = _cancelling(connection, batch_id)
            if batch is not None:
                _changed(
                    connection,
                    batch_id,
                    batch.changed_at,
                    change=batches.c.change + 1,
                    completed_at=batch.cancelled_at,
                )

    def failed_images(self, batch_id: str) -> list[str]:
        """Ids of images that failed and whose bytes are in the store. Raises NoSuchBatch, BatchCancelled."""
        query = select(images.c.id).where(in_batch(batch_id), _CAN_BE_TRIED).order_by(images.c.position)
        with self._database.reading() as connection:
            if read_batch(connection, batch_id).cancelled_at is not None:
                raise BatchCancelled(batch_id)
            return list(connection.execute(query).scalars())

    def try_again(self, batch_id: str, image_ids: Sequence[str], now: float) -> list[Image]:
        """Make failed images wait again, as if just accepted; gives those that did fail and can be tried.

        Their earlier results no longer count. Raises NoSuchBatch, BatchCancelled.
        """
        with self._database.writing() as connection:
            batch = read_batch(connection, batch_id, lock=True)
            if batch.cancelled_at is not None:
                raise BatchCancelled(batch_id)
            tried = and_(images.c.id.in_(image_ids), belongs_to(batch_id), _CAN_BE_TRIED)
            afresh = {"status": "received", "provisional": False, "attempt": images.c.attempt + 1}
            count = _renumber(connection, batch.change, tried, afresh | dict.fromkeys(_OF_A_RESULT))
            if not count:
                return []
            _changed(
                connection,
                batch_id,
                now,
                change=batches.c.change + count,
                completed=batches.c.completed - count,
                failed=batches.c.failed - count,
                completed_at=None,
            )
            query = shown_images(batch_id).where(images.c.change > batch.change)
            return [Image(*row) for row in connection.execute(query.order_by(images.c.change))]

    def delete(self, batch_id: str, now: float) -> None:
        """Hide the batch and its images from every reader; `removal` removes them. Raises NoSuchBatch.

        However many images it has, this is one row.
        """
        marking = (
            update(batches)
            .where(batches.c.id == batch_id, _THERE)
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

    def deleted(self, batch_ids: Collection[str]) -> set[str]:
        """Those of the batches that were deleted."""
        query = select(batches.c.id).where(batches.c.id.in_(batch_ids), ~_THERE)
        with self._database.reading() as connection:
            return set(connection.execute(query).scalars())

    def abandoned(self, unchanged_since: float) -> list[str]:
        """Open batches in which nothing has happened since then."""
        return self._ids(_THERE, batches.c.closed_at.is_(None), batches.c.changed_at < unchanged_since)

    def expire(self, batch_id: str, unchanged_since: float, now: float) -> bool:
        """Close a batch for its owner, unless something happened in it after all; whether it was closed."""
        closing = (
            update(batches)
            .where(
                batches.c.id == batch_id, _THERE, batches.c.closed_at.is_(None), batches.c.changed_at < unchanged_since
            )
            .values(
                closed_at=now,
                expired_at=now,
                changed_at=now,
                change=batches.c.change + 1,
                completed_at=case((batches.c.completed == batches.c.total, now)),
            )
        )
        with self._database.writing() as connection:
            return bool(connection.execute(closing).rowcount)

    def outlived(self, ended_before: float) -> list[str]:
        """Batches that ended before then."""
        return self._ids(_THERE, batches.c.completed_at < ended_before)

    def _ids(self, *conditions: ColumnElement[bool]) -> list[str]:
        with self._database.reading() as connection:
            return list(connection.execute(select(batches.c.id).where(*conditions).order_by(batches.c.id)).scalars())


_CAN_BE_TRIED = and_(images.c.status == "failed", or_(images.c.stored, images.c.origin.is_not(None)))
_OF_A_RESULT = ("error", "caption", "timings", "tagger", "finished_at")


def _renumber(connection: Connection, change: int, which: ColumnElement[bool], values: dict[str, Any]) -> int:
    """Set `values` and the numbers that follow the batch's change number; how many images. The batch is locked."""
    number = func.row_number().over(order_by=images.c.position)
    order = select(images.c.id, (change + number).label("change")).where(which).subquery()
    changing = update(images).where(images.c.id == order.c.id).values(change=order.c.change, **values)
    return connection.execute(changing).rowcount


def _cancelling(connection: Connection, batch_id: str) -> AnyRow | None:
    """The row of a batch that is being cancelled, locked; None where that is over, or the batch is deleted."""
    columns = select(batches.c.change, batches.c.cancelled_at, batches.c.changed_at)
    which = batches.c.id == batch_id, _THERE, batches.c.cancelled_at.is_not(None), batches.c.completed_at.is_(None)
    return connection.execute(columns.where(*which).with_for_update()).one_or_none()


def _changed(connection: Connection, batch_id: str, now: float, **values: Any) -> Batch:
    changing = update(batches).where(batches.c.id == batch_id).values(changed_at=now, **values)
    return Batch(*connection.execute(changing.returning(*BATCH_COLUMNS)).one())
