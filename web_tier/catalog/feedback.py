"""Catalogue queries for publishing feedback to adaptive taggers."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, select, update

from core.domain.messages import MAX_OPINIONS, Feedback, Opinion
from core.storage import layout
from web_tier.catalog import changes
from web_tier.catalog.database import Database
from web_tier.catalog.pace import Pace
from web_tier.catalog.tables import batches, images, verdicts
from web_tier.catalog.tag_rows import read_decisions
from web_tier.catalog.visibility import not_deleted

_PORTION = 1000


class FeedbackCatalog:
    """Keeps track of what has been published. Every method may raise Unavailable.

    An edit marks its images in its own transaction (`images.feedback`), so unpublished feedback is always found.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def unpublished(self, limit: int, image_ids: Sequence[str] | None = None) -> list[Feedback]:
        """Return all decisions about images with unpublished feedback; about these images, or any."""
        columns = (images.c.id, images.c.batch_id, images.c.name, images.c.origin, images.c.feedback)
        query = select(*columns).where(images.c.feedback.is_not(None), not_deleted())
        query = query.order_by(images.c.id).limit(limit)
        if image_ids is not None:
            query = query.where(images.c.id.in_(image_ids))
        with self._database.reading() as connection:
            found = connection.execute(query).all()
            decisions = read_decisions(connection, [row.id for row in found])
        return [
            Feedback(
                batch_id=row.batch_id,
                image_id=row.id,
                key=row.origin or layout.image_key(row.batch_id, row.id),
                name=row.name,
                revision=row.feedback,
                opinions=tuple(
                    Opinion(name=decision.name, wanted=decision.wanted)
                    for decision in list(decisions.get(row.id, {}).values())[-MAX_OPINIONS:]
                ),
            )
            for row in found
        ]

    def mark_published(self, feedback: Sequence[Feedback]) -> None:
        """Record that this feedback was published. An image that was edited again since stays unpublished."""
        if not feedback:
            return
        rows = [{"image_id": one.image_id, "revision": one.revision} for one in feedback]
        with self._database.writing() as connection:
            connection.execute(_LOCK_BATCHES, {"ids": [one.image_id for one in feedback]})
            connection.execute(_MARK_PUBLISHED, rows)

    def mark_all_unpublished(self) -> int:
        """Mark the feedback of all images for publishing again; return about how many images that are.

        Works in groups, each a short transaction of its own. Some may be marked already when it raises.
        """
        marked, last = 0, ""
        pace = Pace()
        while edited := self._edited_after(last):
            last = edited[-1]
            for group in pace.groups(edited):
                with self._database.writing() as connection, pace.measuring():
                    connection.execute(_LOCK_BATCHES, {"ids": group})
                    marking = update(images).where(images.c.id.in_(group), not_deleted())
                    marked += connection.execute(marking.values(feedback=images.c.change)).rowcount
        return marked

    def _edited_after(self, image_id: str) -> list[str]:
        query = select(verdicts.c.image_id).where(verdicts.c.undone_at.is_(None), verdicts.c.image_id > image_id)
        query = query.distinct().order_by(verdicts.c.image_id).limit(_PORTION)
        with self._database.reading() as connection:
            return list(connection.execute(query).scalars())


_LOCK_BATCHES = changes.lock_batches_of_images(batches.c.id)
_MARK_PUBLISHED = (
    update(images)
    .where(images.c.id == bindparam("image_id"), images.c.feedback == bindparam("revision"))
    .values(feedback=None)
)
