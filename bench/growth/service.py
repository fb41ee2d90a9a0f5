"""The web tier over a filled catalogue and filled queues, and what the operations are about."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from flask.testing import FlaskClient
from sqlalchemy import URL, text

from bench import catalogs
from bench.catalogs.plan import OWN_TAG
from config import settings as config
from config.settings import Settings
from core.domain.ids import new_id
from core.domain.messages import Job, encode
from core.wiring import Backend
from web_tier.app import create_app
from web_tier.catalog.database import Database
from web_tier.catalog.results import ResultCatalog

_DEAD_SHARE = 10
"""One in this many images is a dead letter: 100,000 of a million."""
_TAGS_OF_LARGEST = text(
    "SELECT tags.name, count(*) FROM tags JOIN images ON images.id = tags.image_id WHERE images.batch_id = :of "
    "GROUP BY tags.name ORDER BY 2 DESC, 1"
)
_LARGEST = text("SELECT id, total FROM batches WHERE deleted_at IS NULL ORDER BY total DESC LIMIT 1")
_IMAGES = text("SELECT id FROM images WHERE batch_id = :of AND status = 'succeeded' ORDER BY position LIMIT 300")


@dataclass(frozen=True, slots=True)
class Subjects:
    """What the operations are about: the largest batch, some of its images, its most frequent tag and a rare one."""

    largest: str
    size: int
    images: list[str]
    common: str
    rare: str


@dataclass
class Service:
    """The web tier in this process."""

    settings: Settings
    backend: Backend
    catalog: ResultCatalog
    client: FlaskClient
    images: int

    @cached_property
    def subjects(self) -> Subjects:
        with self.catalog.database.reading() as connection:
            largest, size = connection.execute(_LARGEST).one()
            of = {"of": largest}
            names = [name for name, _ in connection.execute(_TAGS_OF_LARGEST, of)]
            images = list(connection.execute(_IMAGES, of).scalars())
        return Subjects(largest, size, images, names[0], OWN_TAG if OWN_TAG in names else names[-1])

    def parameters(self, path: str) -> set[str]:
        """Return the parameters that this version's GET of a path takes, by its description."""
        route = urlsplit(path).path.replace(self.subjects.largest, "{batch_id}")
        described = self._description["paths"].get(route, {}).get("get", {})
        return {parameter["name"] for parameter in described.get("parameters", ())}

    @cached_property
    def _description(self) -> Any:
        return self.client.get("/openapi.json").get_json()


@contextmanager
def service(url: URL, images: int, home: Path) -> Iterator[Service]:
    """Open the web tier over the catalogue at `url`, with `images` jobs in the queue and a tenth of it dead letters."""
    place = "" if url.drivername == "sqlite" else url.render_as_string(hide_password=False)
    settings = config.load({"TAGFLEET_HOME": str(home), "TAGFLEET_WEB__CATALOG_URL": place})
    backend = Backend(settings)
    app = create_app(backend, settings, time.time)
    database: Database = app.extensions["tagfleet"].database
    found = Service(settings, backend, ResultCatalog(database), app.test_client(), images)
    try:
        _fill_queue(found, images)
        yield found
    finally:
        database.close()


def dead_letters(service: Service) -> int:
    """Return how many dead letters there are."""
    return max(1, service.images // _DEAD_SHARE)


def _fill_queue(service: Service, waiting: int) -> None:
    """Write messages directly into the queues' file, and a batch of the dead letters' images into the catalogue."""
    pool = service.settings.default_pool
    queue = service.backend.jobs(pool)
    queue.depth()  # makes the file
    batch_id, dead = new_id("bat"), dead_letters(service)
    catalogs.fill(service.catalog.database, batch_id, dead, status="queued", tags=0)
    connection = sqlite3.connect(service.settings.home / "queues.db", isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    for name, batch, count in ((queue.name, new_id("bat"), waiting), (f"{queue.name}-dead", batch_id, dead)):
        rows = ((name, time.time(), job(batch, number, pool)) for number in range(1, count + 1))
        connection.execute("BEGIN")
        connection.executemany("INSERT INTO messages (queue, sent_at, body) VALUES (?, ?, ?)", rows)
        connection.execute("COMMIT")
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def job(batch_id: str, number: int, pool: str) -> str:
    """Return the body of a job for one image."""
    image_id = catalogs.image_id(batch_id, number)
    key = f"uploads/{batch_id}/{image_id}"
    return encode(
        Job(batch_id=batch_id, image_id=image_id, key=key, name="a.jpg", tagger=pool, submitted_at=time.time())
    )
