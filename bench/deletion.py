"""Measure the deletion and the cancelling of a large batch: their speed, and how long other writers wait.

The collector runs in its own process (`python -m bench.deletion`), as in a deployment. Meanwhile this process writes to
the catalogue as the web tier does.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import NoReturn

import click
from sqlalchemy import URL, make_url, select

from bench import catalogs
from bench.small_cloud.process import small_cloud
from bench.web import spread
from config import settings
from core.domain.ids import new_id
from core.errors import Unavailable
from core.local.store import LocalStore
from core.storage import layout
from core.storage.ports import ObjectStore
from core.util.interpreter import module_command
from core.wiring import Backend
from web_tier.catalog.batches import Batch, Upload
from web_tier.catalog.database import Database
from web_tier.catalog.lifecycle import LifecycleCatalog
from web_tier.catalog.removal import RemovalCatalog
from web_tier.catalog.tables import images
from web_tier.catalog.uploads import UploadCatalog
from web_tier.services.dispatch import Dispatch
from web_tier.services.lifecycle import BatchLifecycle, Housekeeping
from web_tier.services.removal import Removal

_EVERY_S = 0.01
_WITHIN_S = 3600.0
_AHEAD_S = 61.0
"""The collector removes a batch a minute after its deletion, so its clock is this far ahead."""


class Prober:
    """Adds single images to its own batch. `times`: seconds per write; `turns`: seconds until its turn to write."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._catalog = UploadCatalog(database)
        self._batch = new_id("bat", time.time())
        now = time.time()
        batch = Batch(self._batch, "resnet50", {}, {}, now, None, None, 0, 0, 0, 0, changed_at=now)
        self._catalog.create_batch(batch, payload_hash="")
        self.times: list[float] = []
        self.turns: list[float] = []
        self.refused = ""

    @contextmanager
    def probing(self) -> Iterator[None]:
        """Write in a thread until the block ends."""
        stop = threading.Event()
        thread = threading.Thread(target=self._run, args=(stop,))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def _run(self, stop: threading.Event) -> None:
        while not stop.wait(_EVERY_S):
            number = len(self.times)
            upload = Upload(new_id("img", time.time()), f"{number}.jpg", f"{number:064x}", 1)
            began = time.perf_counter()
            try:
                with self._database.writing():
                    self.turns.append(time.perf_counter() - began)
                began = time.perf_counter()
                self._catalog.add_images(self._batch, [upload], time.time())
            except Unavailable as error:
                self.refused = str(error)
            self.times.append(time.perf_counter() - began)

    def line(self) -> str:
        """Return a line with the spread of both times, and the last refusal if there was one."""
        refused = f"; refused: {self.refused}" if self.refused else ""
        return (
            f"a writer beside it: its turn {spread(_ms(self.turns))}; a write with its flush {spread(_ms(self.times))};"
            f" {len(self.times)} writes{refused}"
        )


def _ms(seconds: list[float]) -> list[float]:
    return [1000 * one for one in seconds]


def report(count: int, place: str, *, objects: bool) -> Iterator[str]:
    """Yield lines on the deletion and then on the cancelling of a batch of `count` images.

    `place` is the URL of an empty PostgreSQL database; if empty, a SQLite file is made. With `objects` the batch to be
    deleted also has an original and a result of each image, as files.
    """
    kind = "PostgreSQL" if place else "SQLite"
    with tempfile.TemporaryDirectory(prefix="tagfleet-bench-") as folder:
        scratch = Path(folder)
        with catalogs.opened(place, scratch) as (url, database):
            root = scratch / "store"
            store = LocalStore(root)
            for what in ("deleted", "cancelled"):
                batch_id = new_id("bat", time.time())
                status = "queued" if what == "cancelled" else "succeeded"
                catalogs.fill(
                    database, batch_id, count, status=status, tags=0 if what == "cancelled" else catalogs.TAGS
                )
                made = catalogs.fill_store(store, root, batch_id, count) if objects and what == "deleted" else 0
                yield f"{kind}, a batch of {count} images {what}:"
                yield from _measured(url, database, store, root, batch_id, what, made)


def report_s3(count: int, latency_ms: float) -> Iterator[str]:
    """Yield a line on the removal of `count` images, two objects each, from `bench.small_cloud`'s S3."""
    with tempfile.TemporaryDirectory(prefix="tagfleet-bench-") as folder, small_cloud(latency_ms) as cloud:
        store = Backend(settings.load({"TAGFLEET_HOME": folder, **cloud.settings})).store
        with catalogs.opened("", Path(folder)) as (_, database):
            batch_id = new_id("bat", time.time())
            catalogs.fill(database, batch_id, count)
            with ThreadPoolExecutor(8) as pool:
                ids = [catalogs.image_id(batch_id, number) for number in range(1, count + 1)]
                keys = [key_of(batch_id, id_) for key_of in (layout.image_key, layout.result_key) for id_ in ids]
                list(pool.map(lambda key: store.put(key, b"1"), keys))
            LifecycleCatalog(database).delete(batch_id, time.time())
            began = time.perf_counter()
            Removal(store, RemovalCatalog(database), lambda: time.time() + _AHEAD_S).work(threading.Event())
            took = time.perf_counter() - began
            left = sum(1 for prefix in layout.batch_prefixes(batch_id) for _ in store.list(prefix))
    yield (
        f"S3's stand-in, {latency_ms:.0f} ms an answer: {len(keys)} objects and their rows in {took:.1f} s,"
        f" {60 * len(keys) / took:.0f} objects a minute, {left} left"
    )


def _measured(
    url: URL, database: Database, store: ObjectStore, root: Path, batch_id: str, what: str, made: int
) -> Iterator[str]:
    prober = Prober(database)
    life = BatchLifecycle(store, LifecycleCatalog(database), Dispatch(_no_queue, UploadCatalog(database)), time.time)
    with prober.probing():
        time.sleep(0.5)
        began = time.perf_counter()
        (life.delete if what == "deleted" else life.cancel)(batch_id)
        answered = time.perf_counter() - began
        with _collector(url, root):
            while _left(database, batch_id, what) or (made and _files(root)):
                time.sleep(0.2)
                if time.perf_counter() - began > _WITHIN_S:
                    break
        took = time.perf_counter() - began
        time.sleep(0.5)
    yield f"  answered after {1000 * answered:.0f} ms, all gone after {took:.1f} s"
    yield f"  {prober.line()}"
    if made:
        yield f"  {made} objects, {60 * made / took:.0f} a minute with their rows"


def _left(database: Database, batch_id: str, what: str) -> bool:
    query = select(images.c.id).where(images.c.batch_id == batch_id)
    if what == "cancelled":
        query = query.where(images.c.status == "queued")
    with database.reading() as connection:
        return connection.execute(query.limit(1)).one_or_none() is not None


def _files(root: Path) -> bool:
    folders = (root / "objects").glob("*/bat_*")
    return any(next(folder.iterdir(), None) is not None for folder in folders)


@contextmanager
def _collector(url: URL, root: Path) -> Iterator[None]:
    place = url.render_as_string(hide_password=False)
    command = module_command("bench.deletion", place, str(root))
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        try:
            yield
        finally:
            process.communicate()


def _no_queue(_pool: str) -> NoReturn:
    raise RuntimeError("nothing is sent here")


@click.command()
@click.option("--images", default=300_000, show_default=True, help="size of the batch")
@click.option("--catalog", default="", help="URL of an empty PostgreSQL database  [default: a SQLite file]")
@click.option("--objects/--no-objects", default=True, help="make an original and a result of each image, as files")
@click.option("--s3", is_flag=True, help="measure the removal alone, from an S3 in memory")
@click.option("--latency-ms", default=20.0, show_default=True, help="time of an answer of that S3")
def command(images: int, catalog: str, objects: bool, s3: bool, latency_ms: float) -> Iterator[str]:
    """Measure the deletion and the cancelling of a large batch.

    Prints how long another writer waits, and how fast rows and objects go.
    """
    return report_s3(images, latency_ms) if s3 else report(images, catalog, objects=objects)


def main() -> None:
    """Run the collector's sweeps on the catalogue and the store of the command line until standard input closes."""
    database = Database(make_url(sys.argv[1]))
    ages = settings.load({"TAGFLEET_HOME": "/nonexistent"}).collector
    house = Housekeeping(
        LocalStore(Path(sys.argv[2])), LifecycleCatalog(database), ages, lambda: time.time() + _AHEAD_S
    )
    stop = threading.Event()

    def end() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=end, daemon=True).start()
    while not stop.wait(0.1):
        house.sweep()
    database.close()


if __name__ == "__main__":
    main()
