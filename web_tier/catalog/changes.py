"""Change numbers, counters and ends of batches: the only module that writes these columns.

1. `change` grows by one when the batch itself changes, and by one for each of its images that changes. The image takes
   that number, so a reader asks for everything beyond the last number it has seen.
2. `total`, `completed`, `failed` and `cancelled` count images. Failed and cancelled images are completed, too.
3. `counted` grows with `change`. Earlier versions do not know it, and do not count tags: where the two differ, the tags
   of the batch are counted anew (`web_tier.catalog.placing`).
4. `completed_at` is set once the batch is closed and all its images are completed. It is cleared when images wait
   again. A cancelled batch gets it last, when the rows of all its images say that they are cancelled.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Update, bindparam, case, func, null, or_, select, update

from web_tier.catalog.many_rows import ManyRows, Values, is_any_of
from web_tier.catalog.tables import batches, images

EMPTY: dict[str, Any] = {"total": 0, "completed": 0, "failed": 0, "cancelled": 0, "completed_at": None}
"""These columns in a batch without images."""


_COUNTED = ("total", "completed", "failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Counts:
    """Increments of a batch's counters."""

    total: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0


def lock_batches_of_images(*columns: ColumnElement[Any]) -> Select[Any]:
    """Return a query that locks the batches of the images `ids`, and selects these columns of them.

    Every change of several images locks their batches first, in the order of their ids: so no deadlock is possible.
    """
    of_images = select(images.c.batch_id).where(is_any_of(images.c.id, "ids"))
    return select(*columns).where(batches.c.id.in_(of_images)).order_by(batches.c.id).with_for_update()


def advance(
    connection: Connection, batch_id: str, now: float, *, by: int = 1, counts: Counts | None = None, **columns: Any
) -> range:
    """Add to a batch's change number and counters; return the change numbers that this gave out.

    `now` becomes `changed_at`. `columns` are set as given, in place of what this would set.
    """
    counted = counts or Counts()
    if columns:
        changing = update(batches).where(batches.c.id == batch_id).values(_advanced(now, by, counted) | columns)
        last = connection.execute(changing.returning(batches.c.change)).scalar_one()
    else:
        values = {"of_batch": batch_id, "now": now, "by": by} | {name: getattr(counted, name) for name in _COUNTED}
        last = connection.execute(_ADVANCE, values).scalar_one()
    return range(last - by + 1, last + 1)


def close(connection: Connection, now: float, *conditions: ColumnElement[bool], **columns: Any) -> bool:
    """Close the open batch that meets `conditions`; return whether there was one. `columns` are set with it."""
    values = _advanced(now, 1, Counts(), closing=True) | {"closed_at": now} | columns
    closing = update(batches).where(batches.c.closed_at.is_(None), batches.c.deleted_at.is_(None), *conditions)
    return bool(connection.execute(closing.values(values)).rowcount)


def renumber(connection: Connection, change: int, which: ColumnElement[bool], values: dict[str, Any]) -> int:
    """Set `values` on these images and number them on from `change`; return how many there are.

    The caller has locked the batch, whose change number this is, and calls `advance` afterwards.
    """
    number = func.row_number().over(order_by=images.c.position)
    order = select(images.c.id, (change + number).label("change")).where(which).subquery()
    changing = update(images).where(images.c.id == order.c.id).values(change=order.c.change, **values)
    return connection.execute(changing).rowcount


def image_update(*columns: str) -> ManyRows:
    """Return a statement that sets columns of many images. Each of its rows is an `image_values`."""
    changed = {f"new_{name}": images.c[name] for name in (*columns, "change")}

    def setting(values: Values) -> Update:
        new: dict[Any, Any] = {into: values[name] for name, into in changed.items()}
        return update(images).where(images.c.id == values["image_id"]).values(new)

    all_columns = {"image_id": images.c.id} | changed
    return ManyRows(all_columns, setting({name: bindparam(name) for name in all_columns}), setting)


def image_values(image_id: str, change: int, **columns: Any) -> dict[str, Any]:
    """Return a row of `image_update` for one image, with its new change number."""
    return {"image_id": image_id, "new_change": change} | {f"new_{name}": value for name, value in columns.items()}


def _advanced(now: float, by: int, counts: Counts, *, closing: bool = False) -> dict[str, Any]:
    return _values(now, by, counts.total, counts.completed, counts.failed, counts.cancelled, closing=closing)


def _values(now: Any, by: Any, *counts: Any, closing: bool = False) -> dict[str, Any]:
    """Return the new columns of a batch, from numbers or from parameters of a statement; `counts` as in `_COUNTED`."""
    total, completed, failed, cancelled = (
        batches.c[name] + count for name, count in zip(_COUNTED, counts, strict=True)
    )
    unfinished = completed != total if closing else or_(batches.c.closed_at.is_(None), completed != total)
    return {
        "change": batches.c.change + by,
        "counted": batches.c.counted + by,
        "changed_at": now,
        "total": total,
        "completed": completed,
        "failed": failed,
        "cancelled": cancelled,
        "completed_at": case(
            (batches.c.cancelled_at.is_not(None), batches.c.completed_at),
            (unfinished, null()),
            else_=func.coalesce(batches.c.completed_at, now),
        ),
    }


_ADVANCE = (
    update(batches)
    .where(batches.c.id == bindparam("of_batch"))
    .values(
        _values(
            bindparam("now", type_=batches.c.changed_at.type),
            *(bindparam(name, type_=batches.c.change.type) for name in ("by", *_COUNTED)),
        )
    )
    .returning(batches.c.change)
)
"""Made once, as making it takes longer than running it."""
