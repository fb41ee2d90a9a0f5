"""Batches in a catalogue, what everybody does to them, and what the previous version does."""

from __future__ import annotations

import threading
from collections.abc import Collection
from contextlib import suppress
from itertools import count
from typing import Any

from sqlalchemy import Connection, func, select, text

from core.domain.messages import Origin
from core.errors import TagfleetError, Unavailable
from web_tier.catalog import tag_counts
from web_tier.catalog.batches import Batch, NoSuchBatch, Upload
from web_tier.catalog.database import Database
from web_tier.catalog.drops import DropCatalog
from web_tier.catalog.edits import TagDecision, tag_key
from web_tier.catalog.lifecycle import LifecycleCatalog
from web_tier.catalog.pace import Pace
from web_tier.catalog.placing import Placing, PlacingCatalog
from web_tier.catalog.removal import RemovalCatalog
from web_tier.catalog.results import ImageOutcome, ResultCatalog
from web_tier.catalog.tables import batches, images, tags
from web_tier.catalog.tables import tag_counts as counts
from web_tier.catalog.tag_list import TagCount, list_tags, scan_tags
from web_tier.catalog.tag_rows import compute_surest
from web_tier.catalog.tags import Edit, TagCatalog

DROPS = "bat_drop_"
_numbers = count()


def tag_of(name: str, confidence: float | None = 0.5, source: str = "model") -> dict[str, Any]:
    return {"name": name, "confidence": confidence, "source": source, "instances": []}


def quick() -> Pace:
    return Pace(pause=lambda _: None)


class Counted:
    """Three batches of uploads and one of dropped files; `run` numbers their ids, as examples share a catalogue."""

    def __init__(self, database: Database) -> None:
        self.run = next(_numbers)
        self.database = database
        self.results = ResultCatalog(database)
        self.tags = TagCatalog(database)
        self.life = LifecycleCatalog(database)
        self.removal = RemovalCatalog(database)
        self.placing = PlacingCatalog(database)
        self.batches = [self._batch(number) for number in range(3)]
        self.drop = f"{DROPS}{self.run}"
        self.images: list[tuple[str, str]] = []
        """Batch and id."""
        self.emptied: set[str] = set()
        """Images whose last tag the previous version removed."""
        self.edits: list[tuple[str, str]] = []

    def _batch(self, number: int) -> str:
        batch = Batch(f"bat_{self.run}_{number}", "p", {}, {}, 0.0, None, None, 0, 0, 0, 0)
        return self.results.create_batch(batch, payload_hash="")[0].id

    def upload(self, batch: int, number: int) -> None:
        name = f"img_{self.run}_{len(self.images)}_"
        uploads = [Upload(f"{name}{each}", f"{name}{each}", name, 1) for each in range(number)]
        with suppress(NoSuchBatch):
            self.results.add_images(self.batches[batch], uploads, 1.0)
            self.images += [(self.batches[batch], upload.id) for upload in uploads]

    def pick(self, numbers: Collection[int]) -> list[tuple[str, str]]:
        """Return images, the newest first by number."""
        there = len(self.images)
        return sorted({self.images[-1 - number % there] for number in numbers}) if there else []

    def result(self, numbers: Collection[int], said: list[tuple[str, float | None]], how: str) -> None:
        with self.database.reading() as connection:
            attempts = dict(connection.execute(select(images.c.id, images.c.attempt)).all())
        outcomes = [_outcome(batch, image, said, how, attempts.get(image, 0)) for batch, image in self.pick(numbers)]
        self.results.record(outcomes, 2.0)

    def edit(self, numbers: Collection[int], name: str, *, wanted: bool) -> None:
        for batch, image in self.pick(numbers):
            edit_id = f"edt_{self.run}_{len(self.edits)}"
            with suppress(TagfleetError):
                self.tags.edit(batch, [image], Edit(edit_id, [TagDecision(name, wanted)]), 3.0)
                self.edits.append((batch, edit_id))
                self.emptied.discard(image)

    def undo(self, number: int) -> None:
        if self.edits:
            batch, edit_id = self.edits[number % len(self.edits)]
            with suppress(TagfleetError):
                self.tags.undo(batch, edit_id, 4.0)

    def retry(self, batch: int) -> None:
        with suppress(NoSuchBatch):
            self.life.retry(self.batches[batch], [image for _, image in self.images], 5.0)

    def delete(self, batch: int) -> None:
        with suppress(NoSuchBatch):
            self.life.delete([*self.batches, self.drop][batch], 6.0)

    def remove(self, batch: int, number: int) -> None:
        """Remove some images of a deleted batch; the last removal clears it."""
        batch_id = [*self.batches, self.drop][batch]
        if self.removal.is_uncleared(batch_id):
            some = [image.id for image in self.removal.images_after(batch_id, 0, number)]
            self.removal.remove(batch_id, some, quick())
            self.removal.mark_cleared(batch_id, 7.0)

    def dropped(self, said: list[tuple[str, float | None]]) -> None:
        """A file comes into the folder; its batch starts anew if it is deleted and empty."""
        name = f"img_{self.run}_{len(self.images)}_d"
        origin = Origin(uri=f"s3://b/f/{name}", folder="s3://b/f/", dropped_at=100.0, sha256=name, bytes=1)
        outcome = _outcome(self.drop, name, said, "good", 0, origin)
        with suppress(Unavailable):
            DropCatalog(self.database).adopt([outcome], "p", 8.0)
            self.images.append((self.drop, name))
            self.results.record([outcome], 8.0)

    def old_write(self, numbers: Collection[int], said: list[tuple[str, float | None]]) -> None:
        """Write tags as the previous version does in an edit: rows without a place, and no counts."""
        for _, image in self.pick(numbers):
            with self.database.writing() as connection:
                where = {"image": image}
                if connection.execute(text(_OLD_LOCK), where).one_or_none() is None:
                    continue
                connection.execute(text("DELETE FROM tags WHERE image_id = :image"), where)
                shown = [tag_of(*one) for one in {tag_key(one[0]): one for one in said}.values()]
                for tag in shown:
                    row = {"key": tag_key(tag["name"]), **tag, **where}
                    connection.execute(text(_OLD_INSERT), row)
                connection.execute(text(_OLD_ADVANCE), where)
                connection.execute(images.update().where(images.c.id == image).values(tags=shown, said=None))
                (self.emptied.discard if shown else self.emptied.add)(image)

    def old_delete(self, batch: int) -> None:
        """Delete a batch as the previous version does, which leaves its counts."""
        with self.database.writing() as connection:
            where = batches.c.id == [*self.batches, self.drop][batch], batches.c.deleted_at.is_(None)
            connection.execute(batches.update().where(*where).values(deleted_at=6.0, removed=0, cleared_at=None))

    def place(self, number: int) -> None:
        self.placing.place(self.placing.unplaced_after("", number), quick())

    def settle(self) -> None:
        """Do all that the collector's housekeeping does in the end."""
        placing = Placing(self.placing, lambda: 0.0, quick)
        while placing.work(threading.Event()):
            continue

    def check(self) -> None:
        """Check what must hold after every step, whoever wrote."""
        with self.database.reading() as connection:
            there = set(connection.execute(select(batches.c.id).where(batches.c.deleted_at.is_(None))).scalars())
            for batch in there & {*self.batches, self.drop}:
                for prefix in ("", "d"):
                    found = list_tags(connection, prefix, 100, batch)
                    assert _plain(found) == _scanned(connection, prefix, batch)
            sums = select(counts.c.key, func.sum(counts.c.images)).group_by(counts.c.key)
            each = connection.execute(sums.where(counts.c.batch_id != tag_counts.ALL)).all()
            every = connection.execute(sums.where(counts.c.batch_id == tag_counts.ALL)).all()
            assert sorted(map(tuple, each)) == sorted(map(tuple, every))
            assert connection.execute(select(counts).where(counts.c.images <= 0)).all() == []
            unplaced = select(tags.c.image_id).where(tags.c.batch_id.is_(None))
            placed = select(images.c.id, images.c.surest, images.c.tags).where(images.c.id.not_in(unplaced))
            placed = placed.where(images.c.batch_id.in_([*self.batches, self.drop]))
            for id_, surest, shown in connection.execute(placed):
                assert surest == compute_surest(shown) or id_ in self.emptied

    def check_all(self) -> None:
        """Check what must hold once nothing of the previous version is left to count."""
        with self.database.reading() as connection:
            for prefix in ("", "d"):
                assert _plain(list_tags(connection, prefix, 100)) == _scanned(connection, prefix)


def _plain(found: list[TagCount]) -> list[tuple[str, int]]:
    return [(tag_key(tag.name), tag.count) for tag in found]


def _scanned(connection: Connection, prefix: str, batch: str | None = None) -> list[tuple[str, int]]:
    return [(tag_key(name), number) for name, number in scan_tags(connection, prefix, 100, batch)]


def _outcome(
    batch: str, image: str, said: list[tuple[str, float | None]], how: str, attempt: int, origin: Origin | None = None
) -> ImageOutcome:
    return ImageOutcome(
        batch_id=batch,
        image_id=image,
        name=image,
        error=None if how == "good" else how,
        tags=[tag_of(name, sure) for name, sure in said] if how == "good" else [],
        caption=None,
        timings=None,
        tagger="t",
        finished_at=1.0,
        attempt=attempt,
        provisional=how == "lost",
        origin=origin,
    )


_OLD_LOCK = """SELECT 1 FROM batches JOIN images ON images.batch_id = batches.id
    WHERE images.id = :image AND batches.deleted_at IS NULL"""
_OLD_INSERT = """INSERT INTO tags (image_id, key, name, confidence, source)
    VALUES (:image, :key, :name, :confidence, :source)"""
_OLD_ADVANCE = """UPDATE batches SET change = change + 1
    WHERE id = (SELECT batch_id FROM images WHERE id = :image)"""
