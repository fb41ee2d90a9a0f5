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
class RemainingImage:
    """An image of a deleted batch that is still to be removed."""

    id: str
    position: int


@dataclass(frozen=True, slots=True)
class RemovalBacklog:
    """The rest of deleted batches: images with up to three stored objects each, and batches not swept yet."""

    batches: int
    images: int


_UNSWEPT = and_(batches.c.deleted_at.is_not(None), batches.c.purged_at.is_(None))
_UNCLEARED = and_(_UNSWEPT, batches.c.cleared_at.is_(None))


class RemovalCatalog:
    """Removes rows of deleted batches. A batch is *cleared* once its images are gone, *swept* once its objects are.

    Every method is one short transaction and may raise Unavailable; times are Unix seconds.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def unswept(self, deleted_before: float) -> list[tuple[str, float]]:
        """Return batches deleted before then that are not swept, with the time of deletion, the oldest first."""
        query = select(batches.c.id, batches.c.deleted_at).order_by(batches.c.deleted_at, batches.c.id)
        query = query.where(_UNSWEPT, batches.c.deleted_at < deleted_before)
        with self._database.reading() as connection:
            return [(row.id, row.deleted_at) for row in connection.execute(query)]

    def is_uncleared(self, batch_id: str) -> bool:
        """Return whether the batch is deleted and has images left."""
        query = select(batches.c.id).where(_UNCLEARED, batches.c.id == batch_id)
        with self._database.reading() as connection:
            return connection.execute(query).one_or_none() is not None

    def images_after(self, batch_id: str, position: int, limit: int) -> list[RemainingImage]:
        """Return the images left of a deleted batch, in the order of their upload, starting after `position`."""
        query = (
            select(images.c.id, images.c.position)
            .join(batches, batches.c.id == images.c.batch_id)
            .where(images.c.batch_id == batch_id, images.c.position > position, batches.c.deleted_at.is_not(None))
            .order_by(images.c.position)
            .limit(limit)
        )
        with self._database.reading() as connection:
            return [RemainingImage(row.id, row.position) for row in connection.execute(query)]

    def remove(self, batch_id: str, image_ids: Sequence[str], pace: Pace) -> int:
        """Remove the rows of these images of a deleted batch, with their tags and edits; return how many there were.

        Skips images that another transaction has locked. A power cut may undo the removal; it is then done again.
        """
        with self._database.writing(durable=False) as connection, pace.measuring():
            marked = select(batches.c.id).where(batches.c.id == batch_id, batches.c.deleted_at.is_not(None))
            if connection.execute(marked.with_for_update()).one_or_none() is None:
                return 0
            mine = select(images.c.id).where(images.c.id.in_(image_ids), belongs_to(batch_id))
            free = list(connection.execute(mine.with_for_update(skip_locked=True)).scalars())
            # The foreign keys would cascade row by row, which takes several times as long.
            connection.execute(delete(tags).where(tags.c.image_id.in_(free)))
            connection.execute(delete(verdicts).where(verdicts.c.image_id.in_(free)))
            connection.execute(delete(images).where(images.c.id.in_(free)))
            counting = update(batches).where(batches.c.id == batch_id).values(removed=batches.c.removed + len(free))
            connection.execute(counting)
            return len(free)

    def mark_cleared(self, batch_id: str, now: float) -> bool:
        """Record that the batch has no images left; return False if it has some after all."""
        left = select(images.c.id).where(images.c.batch_id == batch_id).limit(1)
        with self._database.writing() as connection:
            if connection.execute(left).one_or_none() is not None:
                return False
            done = batches.c.id == batch_id, _UNCLEARED
            connection.execute(update(batches).where(*done).values(cleared_at=now, removed=batches.c.total))
            return True

    def mark_swept(self, batch_id: str, now: float) -> None:
        """Record that the store has nothing of the batch any more."""
        with self._database.writing() as connection:
            connection.execute(update(batches).where(batches.c.id == batch_id, _UNSWEPT).values(purged_at=now))

    def backlog(self) -> RemovalBacklog:
        """Return how much is left to remove."""
        columns = func.count(), func.coalesce(func.sum(batches.c.total - batches.c.removed), 0)
        with self._database.reading() as connection:
            return RemovalBacklog(*map(int, connection.execute(select(*columns).where(_UNSWEPT)).one()))
