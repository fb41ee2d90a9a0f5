"""Show deletions and cancellations at once, while the rows of a large batch are still being changed.

To delete or cancel a batch changes one row, the batch's own. The rows of its images follow in small groups. Until then
every query goes by the batch: images of a deleted batch are invisible, and waiting images of a cancelled batch count as
cancelled.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import BindParameter, ColumnElement, and_, case, exists, func, select

from web_tier.catalog.tables import batches, images

WAITING = ("received", "queued")
"""The statuses of an image that has no result yet and may still get one."""

_owner = batches.alias("owner")
_OF_IMAGE = _owner.c.id == images.c.batch_id
_CANCELLED_AT = select(_owner.c.cancelled_at).where(_OF_IMAGE).correlate(images).scalar_subquery()
_BEING_CANCELLED = and_(images.c.status.in_(WAITING), _CANCELLED_AT.is_not(None))

STATUS: ColumnElement[str] = case((_BEING_CANCELLED, "cancelled"), else_=images.c.status).label("status")
"""The status of an image, as readers see it."""

SHOWN_IMAGE: dict[str, ColumnElement[Any]] = {
    "status": STATUS,
    "finished_at": case((_BEING_CANCELLED, _CANCELLED_AT), else_=images.c.finished_at).label("finished_at"),
}
"""Columns of an image that readers see differently from the row."""

SHOWN_BATCH: dict[str, ColumnElement[Any]] = {
    "completed": case((batches.c.cancelled_at.is_not(None), batches.c.total), else_=batches.c.completed),
    "cancelled": case(
        (batches.c.cancelled_at.is_not(None), batches.c.cancelled + batches.c.total - batches.c.completed),
        else_=batches.c.cancelled,
    ),
}
"""Columns of a batch that readers see differently from the row."""


def in_batch(batch_id: str | BindParameter[str]) -> ColumnElement[bool]:
    """Match images of this batch; none if it is deleted."""
    there = select(batches.c.id).where(batches.c.id == batch_id, batches.c.deleted_at.is_(None))
    return images.c.batch_id == there.correlate(None).scalar_subquery()


def belongs_to(batch_id: str) -> ColumnElement[bool]:
    """Match images of this batch, in a query that names them by their ids.

    With a plain comparison SQLite would use the index of batches and read all images of a large one.
    """
    return func.coalesce(images.c.batch_id, "") == batch_id


def not_deleted() -> ColumnElement[bool]:
    """Match images whose batch is not deleted, in a query over all batches."""
    return exists().where(_OF_IMAGE, _owner.c.deleted_at.is_(None)).correlate(images)
