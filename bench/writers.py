"""Measure how long each of many concurrent clients waits to add an image to the catalogue."""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import click

from bench import catalogs
from bench.web import spread
from core.domain.ids import new_id
from web_tier.catalog.batches import Batch, Upload
from web_tier.catalog.database import Database
from web_tier.catalog.uploads import UploadCatalog


def report(clients: int, seconds: float, place: str) -> Iterator[str]:
    """Yield lines on `clients` threads of this process, each adding images to its own batch for `seconds`.

    `place` is the URL of an empty PostgreSQL database; if empty, a SQLite file is made.
    """
    with tempfile.TemporaryDirectory(prefix="tagfleet-bench-") as folder, catalogs.opened(place, Path(folder)) as found:
        _, database = found
        times = _measured(database, clients, seconds)
        every = [taken for own in times for taken in own]
        counts = sorted(map(len, times))
        kind = "PostgreSQL" if place else "SQLite"
        yield f"{kind}, {clients} clients that add one image each, {len(every) / seconds:.0f}/s:"
        yield f"  {spread(every)}"
        yield f"  the slowest client added {counts[0]}, the fastest {counts[-1]}"


def _measured(database: Database, clients: int, seconds: float) -> list[list[float]]:
    """Return each client's milliseconds per image: added to the catalogue and marked as sent."""
    times: list[list[float]] = [[] for _ in range(clients)]
    until = time.perf_counter() + seconds

    def upload(own: list[float]) -> None:
        catalog = UploadCatalog(database)
        now = time.time()
        batch = Batch(new_id("bat", now), "resnet50", {}, {}, now, None, None, 0, 0, 0, 0, changed_at=now)
        catalog.create_batch(batch, payload_hash="")
        while (began := time.perf_counter()) < until:
            image = Upload(new_id("img", time.time()), f"{len(own)}.jpg", f"{len(own):064x}", 1)
            catalog.add_images(batch.id, [image], time.time())
            catalog.mark_sent([image.id])
            own.append(1000 * (time.perf_counter() - began))

    threads = [threading.Thread(target=upload, args=(own,)) for own in times]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return times


@click.command()
@click.option("--clients", default=32, show_default=True)
@click.option("--seconds", default=20.0, show_default=True)
@click.option("--catalog", default="", help="URL of an empty PostgreSQL database  [default: a SQLite file]")
def command(clients: int, seconds: float, catalog: str) -> Iterator[str]:
    """Measure how long clients of one process that add one image at a time wait for the catalogue."""
    return report(clients, seconds, catalog)
