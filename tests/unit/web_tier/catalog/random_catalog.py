"""Random small catalogues with everything that queries must tell apart, and plain answers to the same questions."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, delete, insert

from config.labels.hierarchy import below
from web_tier.catalog import tag_counts
from web_tier.catalog.result_queries import Wanted
from web_tier.catalog.tables import batches, images, tags
from web_tier.catalog.tables import tag_counts as counts
from web_tier.catalog.tag_rows import TagFilter

LONG = "x" * 200
"""A tag of which only so much is kept."""
TAGS = ("dog", "beagle", "basset", "sea", "seal", "sun", LONG)
STATUSES = ("received", "queued", "succeeded", "failed", "cancelled")
BATCHES: dict[str, dict[str, Any]] = {
    "bat_closed": {"closed_at": 1.0},
    "bat_open": {},
    "bat_cancelled": {"closed_at": 1.0, "cancelled_at": 2.0},
    "bat_deleted": {"closed_at": 1.0, "deleted_at": 3.0},
}


@dataclass
class Picture:
    """An image and its rows in `tags`: key, confidence, source."""

    id: str
    batch_id: str
    position: int
    change: int
    status: str
    rows: list[tuple[str, float | None, str]] = field(default_factory=list)
    is_placed: bool = True

    @property
    def surest(self) -> float | None:
        sure = (1.0 if source == "person" else confidence for _, confidence, source in self.rows)
        return max((confidence for confidence in sure if confidence is not None), default=None)

    @property
    def seen_status(self) -> str:
        waits = self.status in ("received", "queued")
        return "cancelled" if waits and self.batch_id == "bat_cancelled" else self.status

    def has(self, wanted: TagFilter) -> bool:
        return not wanted or any(_matches(wanted, *row) for row in self.rows)


def _matches(wanted: TagFilter, key: str, confidence: float | None, source: str) -> bool:
    if wanted.name is not None and key not in {name.casefold()[:200] for name in (wanted.name, *below(wanted.name))}:
        return False
    if wanted.prefix is not None and not key.startswith(wanted.prefix.casefold()[:200]):
        return False
    if wanted.min_confidence is None or source == "person":
        return True
    return confidence is not None and confidence >= wanted.min_confidence


def make(seed: int, number: int, unplaced: float) -> list[Picture]:
    """Return random images; a share of those that have tags are unplaced."""
    chance = random.Random(seed)
    pictures = []
    positions: Counter[str] = Counter()
    for at in range(number):
        batch_id = chance.choice(list(BATCHES))
        positions[batch_id] += chance.choice((1, 1, 3))
        picture = Picture(f"img_{at:04}", batch_id, positions[batch_id], at, chance.choice(STATUSES))
        for key in chance.sample(TAGS, chance.choice((0, 1, 2, 4))):
            source = chance.choice(("model", "model", "person"))
            sure = None if source == "person" else chance.choice((None, 0.0, 0.29, 0.295, 0.3, 0.57, 0.9, 1.0))
            picture.rows.append((key, sure, source))
        picture.is_placed = not picture.rows or chance.random() >= unplaced
        pictures.append(picture)
    changes = chance.sample(range(1, number + 1), number)
    for picture, change in zip(pictures, changes, strict=True):
        picture.change = change
    return pictures


def store(connection: Connection, pictures: list[Picture]) -> None:
    """Replace the whole catalogue by these images."""
    for table in (tags, images, batches, counts):
        connection.execute(delete(table))
    plain = {"pool": "p", "options": {}, "metadata": {}, "payload_hash": "", "created_at": 1.0, "changed_at": 1.0}
    plain |= {"change": 0, "total": 0, "completed": 0, "failed": 0}
    for batch_id, columns in BATCHES.items():
        connection.execute(insert(batches).values(plain | {"id": batch_id} | columns))
    rows = [_image(picture) for picture in pictures]
    if rows:
        connection.execute(insert(images), rows)
    of_tags = [
        {"image_id": picture.id, "key": key, "name": key, "confidence": confidence, "source": source}
        | {name: getattr(picture, name) if picture.is_placed else None for name in ("batch_id", "position")}
        for picture in pictures
        for key, confidence, source in picture.rows
    ]
    if of_tags:
        connection.execute(insert(tags), of_tags)
    number: Counter[tuple[str, str]] = Counter()
    for row in of_tags:
        if row["batch_id"] not in (None, "bat_deleted"):
            number.update([(row["batch_id"], row["key"]), (tag_counts.ALL, row["key"])])
    for (batch_id, key), many in number.items():
        connection.execute(insert(counts).values(batch_id=batch_id, key=key, name=key, images=many))


def _image(picture: Picture) -> dict[str, Any]:
    named = {name: getattr(picture, name) for name in ("id", "batch_id", "position", "change", "status")}
    plain = {"name": picture.id, "sha256": picture.id, "bytes": 1, "provisional": False, "tags": [], "created_at": 1.0}
    return named | plain | {"surest": picture.surest if picture.is_placed else None}


def expected_results(pictures: list[Picture], batch_id: str, wanted: Wanted) -> list[str]:
    """Return the ids of a batch's images, as the queries should."""
    if batch_id == "bat_deleted":
        return []
    found = [
        picture
        for picture in pictures
        if picture.batch_id == batch_id
        and (wanted.statuses is None or picture.seen_status in wanted.statuses)
        and picture.has(wanted.tagged)
    ]
    known = [picture for picture in found if picture.surest is not None]
    unknown = [picture for picture in found if picture.surest is None]
    if wanted.order == "upload":
        found.sort(key=lambda picture: picture.position)
    elif wanted.order == "latest":
        found.sort(key=lambda picture: -picture.change)
    else:
        known.sort(key=lambda picture: (picture.surest, picture.position), reverse=wanted.order == "surest")
        found = known + sorted(unknown, key=lambda picture: picture.position)
    return [picture.id for picture in found]


def expected_search(pictures: list[Picture], wanted: TagFilter) -> list[str]:
    """Return the ids of images of all batches, as the search should."""
    found = [picture.id for picture in pictures if picture.batch_id != "bat_deleted" and picture.has(wanted)]
    return sorted(found, reverse=True)
