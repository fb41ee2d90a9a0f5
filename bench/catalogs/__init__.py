"""Fill catalogues and stores by direct writes, without an upload or a tagger.

`fill` adds one uniform batch to a catalogue, `filling.fill_catalogue` makes a whole one as of a service in use.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, make_url, text

from bench.catalogs import rows
from bench.catalogs.loading import loader_of
from core.domain.tag_names import tag_key
from core.local.store import LocalStore
from core.storage import layout
from web_tier.catalog.database import Database, migrate

TAGS = 5
_ROWS = 5000
_BATCHES = (
    *("id", "pool", "options", "metadata", "payload_hash", "created_at", "changed_at", "closed_at", "completed_at"),
    *("change", "counted", "total", "completed", "failed"),
)
_COUNT = text(
    "INSERT INTO tag_counts (batch_id, key, name, images) VALUES (:batch_id, :key, :name, :images) "
    "ON CONFLICT (batch_id, key) DO UPDATE SET images = tag_counts.images + excluded.images"
)
_IMAGES = (
    *("id", "batch_id", "position", "change", "name", "sha256", "bytes", "status", "provisional", "error", "tagger"),
    *("finished_at", "created_at", "tags", "surest"),
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
    """Insert a closed batch of `count` images, all in one status and each with the same `tags` tags."""
    now = time.time()
    done = status not in ("received", "queued")
    names = [f"Label {tag}" for tag in range(1, tags + 1)] if status == "succeeded" else []
    shown = json.dumps([{"name": name, "confidence": 0.5, "source": "model", "instances": []} for name in names])
    end = ("out of memory" if status == "failed" else None, "bench@1" if done else None, now if done else None)
    counters = (count, count if done else 0, count if status == "failed" else 0)
    with database.writing() as connection:
        loader = loader_of(connection)
        ends = (now, now, now, now if done else None, count, count)
        loader.insert("batches", _BATCHES, [(batch_id, rows.POOL, "{}", "{}", "", *ends, *counters)])
        for start in range(1, count + 1, _ROWS):
            images = [(image_id(batch_id, number), number) for number in range(start, min(start + _ROWS, count + 1))]
            of_image = (status, False, *end, now, shown, 0.5 if names else None)
            loader.insert(
                "images",
                _IMAGES,
                [(id_, batch_id, at, at, f"{at:08}.jpg", f"{at:064x}", 80_000, *of_image) for id_, at in images],
            )
            said = [(tag_key(name), name, 0.5, "model", batch_id) for name in names]
            loader.insert("tags", rows.TAGS, [(id_, *tag, at) for id_, at in images for tag in said])
        if names and count and loader.has("tag_counts"):
            found = [(of, tag_key(name), name, count) for name in names for of in (rows.ALL, batch_id)]
            connection.execute(_COUNT, [dict(zip(rows.TAG_COUNTS, row, strict=True)) for row in found])


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
