"""Fill catalogues and stores with one large batch by direct writes, without an upload or a tagger."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, insert, make_url, text

from core.local.store import LocalStore
from core.storage import layout
from web_tier.catalog.database import Database, migrate
from web_tier.catalog.tables import batches, images

TAGS = 5
_ROWS = 5000
_TAG = text(
    "INSERT INTO tags (image_id, key, name, confidence, source) SELECT id, :key, :name, 0.5, 'tagger' FROM images "
    "WHERE batch_id = :batch AND position BETWEEN :first AND :last"
)


@contextmanager
def opened(place: str, scratch: Path) -> Iterator[tuple[URL, Database]]:
    """Open and migrate the catalogue at a PostgreSQL URL, or a new SQLite file in `scratch` if `place` is empty."""
    url = make_url(place).set(drivername="postgresql+psycopg") if place else None
    url = url or URL.create("sqlite", database=str(scratch / "catalog.db"))
    migrate(url)
    database = Database(url)
    try:
        yield url, database
    finally:
        database.close()


def fill(database: Database, batch_id: str, count: int, *, status: str = "succeeded", tags: int = TAGS) -> None:
    """Insert a closed batch of `count` images, all in one status and each with `tags` tags."""
    now = time.time()
    waiting = status in ("received", "queued")
    with database.writing() as connection:
        connection.execute(
            insert(batches),
            {
                "id": batch_id,
                "pool": "resnet50",
                "options": {},
                "metadata": {},
                "payload_hash": "",
                "created_at": now,
                "changed_at": now,
                "closed_at": now,
                "completed_at": None if waiting else now,
                "change": count,
                "total": count,
                "completed": 0 if waiting else count,
                "failed": count if status == "failed" else 0,
            },
        )
        for start in range(1, count + 1, _ROWS):
            numbers = range(start, min(start + _ROWS, count + 1))
            connection.execute(insert(images), [_image(batch_id, number, status, now) for number in numbers])
            where = {"batch": batch_id, "first": numbers[0], "last": numbers[-1]}
            for tag in range(1, tags + 1):
                connection.execute(_TAG, where | {"key": f"label {tag}", "name": f"Label {tag}"})


def image_id(batch_id: str, number: int) -> str:
    """Return the id of the batch's image at a position, counted from 1."""
    return f"img_{batch_id[4:]}{number:08}"


def fill_store(store: LocalStore, root: Path, batch_id: str, count: int) -> int:
    """Write an original and a result of one byte for each image; return the number of objects.

    The files are written directly, not through `store`, to be faster.
    """
    made = 0
    for key_of in (layout.image_key, layout.result_key):
        store.put(key_of(batch_id, image_id(batch_id, 0)), b"1")  # the folder
        folder = root / "objects" / ("+/".join(key_of(batch_id, "").split("/")[:-1]) + "+")
        for number in range(1, count + 1):
            name = key_of(batch_id, image_id(batch_id, number)).rpartition("/")[2]
            os.close(os.open(folder / name, os.O_WRONLY | os.O_CREAT, 0o600))
            made += 1
    return made


def _image(batch_id: str, number: int, status: str, now: float) -> dict[str, object]:
    shown = [{"name": f"Label {tag}", "confidence": 0.5, "source": "tagger"} for tag in range(1, TAGS + 1)]
    done = status in ("succeeded", "failed")
    return {
        "id": image_id(batch_id, number),
        "batch_id": batch_id,
        "position": number,
        "change": number,
        "name": f"{number:08}.jpg",
        "sha256": f"{number:064x}",
        "bytes": 80_000,
        "status": status,
        "provisional": False,
        "error": "out of memory" if status == "failed" else None,
        "tags": shown if status == "succeeded" else [],
        "tagger": "bench@1" if done else None,
        "created_at": now,
        "finished_at": now if done else None,
    }
