"""Place and count rows of `tags` that an earlier version wrote.

1. An earlier version writes rows of `tags` without `batch_id`, and counts none. Those that were there before the
   migration are such rows, too. They are *unplaced*.
2. Rows are placed in small groups: they get their batch and position, their images get `surest`, and they are counted,
   in one transaction.
3. Until no unplaced row is left, readers count in the slow way (`web_tier.catalog.tag_list`).
4. On a host that is not replaced yet, an earlier version may also delete rows that were counted. It raises `change` of
   the batch, but not `counted`. Such a batch is counted anew, in parts, and then `counted` becomes `change`.
5. It may delete a batch and leave its counts. These are taken out.

All of it may be interrupted anywhere, be done twice, and by several processes at once.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence

from sqlalchemy import BindParameter, Connection, and_, bindparam, exists, select, update

from core.telemetry import logger
from web_tier.catalog import changes
from web_tier.catalog.database import Database
from web_tier.catalog.pace import Pace
from web_tier.catalog.tables import batches, images, tag_counts, tags
from web_tier.catalog.tag_counts import Changes, recount, subtract
from web_tier.catalog.tag_rows import compute_surest

_PORTION = 1000
_LOOK_EVERY_S = 30.0
"""A deleted batch has its counts for at least a minute: after that its row says that nothing is left of it."""
_SMALL = 1000
"""How many rows of `tags` a batch may have to be counted in one go, together with others."""
_ROWS_PER_PLACE = 200
"""How many rows are counted in the time in which one row is placed."""

_IDS: BindParameter[str] = bindparam("ids", expanding=True)
_LOCKED = (batches.c.id, batches.c.deleted_at, batches.c.change, batches.c.counted)
_LOCK_OF_IMAGES = changes.lock_batches_of_images(*_LOCKED)
_LOCK_BATCHES = select(*_LOCKED).where(batches.c.id.in_(_IDS)).order_by(batches.c.id).with_for_update()
_OF_IMAGE = images.c.id == tags.c.image_id
_PLACE = (
    update(tags)
    .where(tags.c.image_id.in_(_IDS), tags.c.batch_id.is_(None))
    .values(
        batch_id=select(images.c.batch_id).where(_OF_IMAGE).scalar_subquery(),
        position=select(images.c.position).where(_OF_IMAGE).scalar_subquery(),
    )
    .returning(tags.c.image_id, tags.c.batch_id, tags.c.key, tags.c.name)
)
_SHOWN = select(images.c.id, images.c.tags).where(images.c.id.in_(_IDS))
_SET_SUREST = update(images).where(images.c.id == bindparam("image_id")).values(surest=bindparam("new_surest"))
_SET_COUNTED = update(batches).where(batches.c.id.in_(_IDS)).values(counted=batches.c.change)
_MISCOUNTED = and_(batches.c.deleted_at.is_(None), batches.c.counted != batches.c.change)
_LEFT_BEHIND = and_(
    batches.c.deleted_at.is_not(None),
    batches.c.purged_at.is_(None),
    exists().where(tag_counts.c.batch_id == batches.c.id),
)


class PlacingCatalog:
    """Places and counts rows of `tags`. Every method may raise Unavailable, and can be called again then.

    A power cut may undo what it did last, as a whole; it is then done again.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def unplaced_after(self, image_id: str, limit: int) -> list[str]:
        """Return images with unplaced rows, in the order of their ids, starting after `image_id`."""
        query = select(tags.c.image_id).distinct().where(tags.c.batch_id.is_(None), tags.c.image_id > image_id)
        with self._database.reading() as connection:
            return list(connection.execute(query.order_by(tags.c.image_id).limit(limit)).scalars())

    def place(self, image_ids: Sequence[str], pace: Pace) -> None:
        """Place and count the unplaced rows of these images."""
        with self._database.writing(durable=False) as connection:
            locked = connection.execute(_LOCK_OF_IMAGES, {"ids": image_ids}).all()
            with pace.measuring():
                _place(connection, image_ids, {row.id for row in locked if row.deleted_at is not None})

    def miscounted(self, limit: int) -> list[str]:
        """Return batches that an earlier version has changed or deleted. Reads all batches, in no order."""
        with self._database.reading() as connection:
            return [
                batch_id
                for which in (_MISCOUNTED, _LEFT_BEHIND)
                for batch_id in connection.execute(select(batches.c.id).where(which).limit(limit)).scalars()
            ]

    def recount(self, batch_ids: Sequence[str], pace: Pace) -> list[str]:
        """Count these batches anew; return those that are too large for it."""
        done, large = [], []
        with self._database.writing(durable=False) as connection:
            locked = connection.execute(_LOCK_BATCHES, {"ids": batch_ids}).all()
            with pace.measuring():
                counts = Changes()
                for row in locked:
                    if row.deleted_at is not None:
                        subtract(connection, row.id, counts)
                    elif recount(connection, row.id, counts, rows=_SMALL) is None:
                        done.append(row.id)
                    else:
                        large.append(row.id)
                counts.write(connection)
                connection.execute(_SET_COUNTED, {"ids": done})
        return large

    def recount_large(self, batch_id: str, pace: Pace, stop: threading.Event | None = None) -> None:
        """Count a batch anew, in parts, until `stop` is set.

        If an earlier version changes it meanwhile, or if this is interrupted, it stays miscounted.
        """
        after: str | None = None
        uncounted: int | None = None
        for part in pace.groups(range(1 << 40)):
            with self._database.writing(durable=False) as connection:
                (row,) = connection.execute(_LOCK_BATCHES, {"ids": [batch_id]})
                if row.deleted_at is not None or (stop is not None and stop.is_set()):
                    return
                with pace.measuring():
                    uncounted = row.change - row.counted if uncounted is None else uncounted
                    counts = Changes()
                    after = recount(connection, batch_id, counts, after, _ROWS_PER_PLACE * len(part))
                    counts.write(connection)
                    if after is None:
                        if row.change - row.counted == uncounted:
                            connection.execute(_SET_COUNTED, {"ids": [batch_id]})
                        return


def _place(connection: Connection, image_ids: Sequence[str], deleted: Collection[str]) -> None:
    """Place the unplaced rows of these images, whose batches are locked."""
    counts = Changes()
    placed: set[str] = set()
    for image_id, batch_id, key, name in connection.execute(_PLACE, {"ids": image_ids}):
        placed.add(image_id)
        if batch_id not in deleted:
            counts.add(batch_id, key, name, +1)
    if not placed:
        return  # another collector was faster
    shown = connection.execute(_SHOWN, {"ids": sorted(placed)})
    connection.execute(_SET_SUREST, [{"image_id": row.id, "new_surest": compute_surest(row.tags)} for row in shown])
    counts.write(connection)


class Placing:
    """Places and counts what earlier versions have written, in portions. `clock` returns Unix seconds."""

    def __init__(
        self, catalog: PlacingCatalog, clock: Callable[[], float], new_pace: Callable[[], Pace] = Pace
    ) -> None:
        self._catalog = catalog
        self._clock = clock
        self._pace = new_pace()
        self._new_pace = new_pace
        self._after = ""
        self._placed = 0
        self._looked_at: float | None = None

    def work(self, stop: threading.Event) -> bool:
        """Do a portion, until `stop` is set; return whether more is left. Raises Unavailable."""
        found = self._catalog.unplaced_after(self._after, _PORTION)
        more = len(found) == _PORTION
        if more and not self._placed:
            logger().info("counting the tags of an earlier version; searches are slower until that is done")
        for group in self._pace.groups(found):
            self._catalog.place(group, self._pace)
            self._placed += len(group)
            if stop.is_set():
                return True
        self._after = found[-1] if more else ""
        if more:
            return True
        if self._placed >= _PORTION:
            logger().info("counted the tags of an earlier version", images=self._placed)
        now = self._clock()
        if self._placed or self._looked_at is None or now - self._looked_at >= _LOOK_EVERY_S:
            self._placed = 0
            self._looked_at = now
            return self._recount(stop)
        return False

    def _recount(self, stop: threading.Event) -> bool:
        found = self._catalog.miscounted(_PORTION)
        for group in self._pace.groups(found):
            for batch_id in self._catalog.recount(group, self._pace):
                self._catalog.recount_large(batch_id, self._new_pace(), stop)
            if stop.is_set():
                return True
        if len(found) < _PORTION:
            return False  # one that stays miscounted comes again later
        self._looked_at = None
        return True
