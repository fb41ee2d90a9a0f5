"""Catalogue queries for removing deleted batches in small groups."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import and_, delete, func, select, update

from web_tier.catalog.database import Database
from web_tier.catalog.pace import Pace
from web_tier.catalog.tables import batches, images, tags, verdicts
from web_tier.catalog.visibility import belongs_to


@dataclass(frozen=True, slots=True)
class Doomed:
    """An image of a deleted batch, as far as its removal needs it."""

    id: str
    position: int


@dataclass(frozen=True, slots=True)
class ToRemove:
    """What is left of deleted batches: images with up to three objects each, and batches that are not swept yet."""

    batches: int
    images: int


_UNSWEPT = and_(batches.c.deleted_at.is_not(None), batches.c.purged_at.is_(None))
_UNCLEARED = and_(_UNSWEPT, batches.c.cleared_at.is_(None))


class RemovalCatalog:
    """Every method is one short transaction and may raise Unavailable; times are Unix seconds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def unswept(self, deleted_before: float) -> list[tuple[str, float]]:
        """Batches deleted before then of which something may be left, the oldest deletion first, and its time."""
        query = select(batches.c.id, batches.c.deleted_at).order_by(batches.c.deleted_at, batches.c.id)
        query = query.where(_UNSWEPT, batches.c.deleted_at < deleted_before)
        with self._database.reading() as connection:
            return [(row.id, row.deleted_at) for row in connection.execute(query)]

    def is_uncleared(self, batch_id: str) -> bool:
        """Whether it is deleted and has images left."""
        query = select(batches.c.id).where(_UNCLEARED, batches.c.id == batch_id)
        with self._database.reading() as connection:
            return connection.execute(query).one_or_none() is not None

    def images_after(self, batch_id: str, position: int, limit: int) -> list[Doomed]:
        """Images left of a deleted batch beyond `position`, in the order of their upload."""
        query = (
            select(images.c.id, images.c.position)
            .join(batches, batches.c.id == images.c.batch_id)
            .where(images.c.batch_id == batch_id, images.c.position > position, batches.c.deleted_at.is_not(None))
            .order_by(images.c.position)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [Doomed(row.id, row.position) for row in connection.execute(query)]

    def remove(self, batch_id: str, image_ids: Sequence[str], pace: Pace) -> int:
        """Remove the rows of these images of a deleted batch, and all that hangs on them; how many there were.

        Images that another transaction holds are left for later. A power cut may undo it: it is done once more.
        """
        with self._database.writing(durable=False) as connection, pace.measuring():
            marked = select(batches.c.id).where(batches.c.id == batch_id, batches.c.deleted_at.is_not(None))
            if connection.execute(marked.with_for_update()).one_or_none() is None:
                return 0
            mine = select(images.c.id).where(images.c.id.in_(image_ids), belongs_to(batch_id))
            free = list(connection.execute(mine.with_for_update(skip_locked=True)).scalars())
            # Row by row, as the foreign keys would do it, takes several times as long.
            connection.execute(delete(tags).where(tags.c.image_id.in_(free)))
            connection.execute(delete(verdicts).where(verdicts.c.image_id.in_(free)))
            connection.execute(delete(images).where(images.c.id.in_(free)))
            counting = update(batches).where(batches.c.id == batch_id).values(removed=batches.c.removed + len(free))
            connection.execute(counting)
            return len(free)

    def mark_cleared(self, batch_id: str, now: float) -> bool:
        """Note that the batch has no images left; False where it has some after all."""
        left = select(images.c.id).where(images.c.batch_id == batch_id).limit(1)
        with self._database.writing() as connection:
            if connection.execute(left).one_or_none() is not None:
                return False
            done = batches.c.id == batch_id, _UNCLEARED
            connection.execute(update(batches).where(*done).values(cleared_at=now, removed=batches.c.total))
            return True

    def mark_swept(self, batch_id: str, now: float) -> None:
        """Note that nothing of the batch is in the store any more."""
        with self._database.writing() as connection:
            connection.execute(update(batches).where(batches.c.id == batch_id, _UNSWEPT).values(purged_at=now))

    def left(self) -> ToRemove:
        columns = func.count(), func.coalesce(func.sum(batches.c.total - batches.c.removed), 0)
        with self._database.reading() as connection:
            return ToRemove(*map(int, connection.execute(select(*columns).where(_UNSWEPT)).one()))
