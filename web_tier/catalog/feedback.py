"""The catalogue as those use it who tell taggers that learn what people decided."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import bindparam, select, update

from core.domain.messages import MAX_OPINIONS, Feedback, Opinion
from core.storage import layout
from web_tier.catalog.database import Database
from web_tier.catalog.pace import Pace
from web_tier.catalog.tables import images, verdicts
from web_tier.catalog.tag_rows import standing_verdicts
from web_tier.catalog.visibility import not_deleted

_PORTION = 1000


class FeedbackCatalog:
    """Every method but `mark_all_unpublished` is one transaction; all may raise Unavailable.

    An edit marks its images in the transaction that makes it, so that whatever happens then somebody finds them.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def unpublished(self, limit: int, image_ids: Sequence[str] | None = None) -> list[Feedback]:
        """All that people hold about images of which not all of it is known to have been told; of these, or any."""
        columns = (images.c.id, images.c.batch_id, images.c.name, images.c.origin, images.c.feedback)
        query = select(*columns).where(images.c.feedback.is_not(None), not_deleted())
        query = query.order_by(images.c.id).limit(limit)
        if image_ids is not None:
            query = query.where(images.c.id.in_(image_ids))
        with self._database.reading() as connection:
            found = connection.execute(query).all()
            held = standing_verdicts(connection, [row.id for row in found])
        return [
            Feedback(
                batch_id=row.batch_id,
                image_id=row.id,
                key=row.origin or layout.image_key(row.batch_id, row.id),
                name=row.name,
                revision=row.feedback,
                opinions=tuple(
                    Opinion(name=verdict.name, wanted=verdict.wanted)
                    for verdict in list(held.get(row.id, {}).values())[-MAX_OPINIONS:]
                ),
            )
            for row in found
        ]

    def mark_published(self, told: Sequence[Feedback]) -> None:
        """An image about which more was said since stays marked."""
        if not told:
            return
        rows = [{"image_id": one.image_id, "revision": one.revision} for one in told]
        with self._database.writing() as connection:
            connection.execute(_MARK, rows)

    def mark_all_unpublished(self) -> int:
        """Have all that people hold told once more; about how many images.

        In groups, each a short transaction of its own: a part of them may be marked when it raises.
        """
        marked, last = 0, ""
        pace = Pace()
        while judged := self._judged_after(last):
            last = judged[-1]
            for group in pace.groups(judged):
                with self._database.writing() as connection, pace.measuring():
                    marking = update(images).where(images.c.id.in_(group), not_deleted())
                    marked += connection.execute(marking.values(feedback=images.c.change)).rowcount
        return marked

    def _judged_after(self, image_id: str) -> list[str]:
        query = select(verdicts.c.image_id).where(verdicts.c.undone_at.is_(None), verdicts.c.image_id > image_id)
        query = query.distinct().order_by(verdicts.c.image_id).limit(_PORTION)
        with self._database.reading() as connection:
            return list(connection.execute(query).scalars())


_MARK = (
    update(images)
    .where(images.c.id == bindparam("image_id"), images.c.feedback == bindparam("revision"))
    .values(feedback=None)
)
