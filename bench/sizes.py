"""Write docs/sizes.md: what a million photos take on the disk, by measuring fewer. The prose is in `sizes.md` here."""

from __future__ import annotations

import json
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import click
from sqlalchemy import URL, make_url

from bench.catalogs import rows
from bench.catalogs.plan import plan_catalogue
from bench.fleet import Bench
from bench.growth.catalogues import disk_bytes, ensure_filled, of_size
from bench.growth.service import job
from bench.machine import machine
from bench.photos import photos_of
from config import settings as config
from core import telemetry
from core.domain.messages import Result, Tag, Timings, encode
from core.imaging.sandbox import Sandbox
from core.wiring import Backend
from web_tier.services.thumbnails import SIZE

PAGE = "sizes.md"
_TEMPLATE = Path(__file__).with_suffix(".md")
_BLOCK = 4096
"""Bytes that ext4 and XFS give out at a time."""
_FILES = 64
_MESSAGES = 20_000
_SANDBOX = (600, 20.0)
"""Megabytes and seconds for one thumbnail."""


@dataclass(frozen=True, slots=True)
class Line:
    """What one photo takes: bytes written, and what they take on the disk. `what` is a cell of the table."""

    what: str
    bytes: float
    on_disk: float


def as_files(what: str, sizes: Sequence[int]) -> Line:
    """Return the mean of files of these sizes, which take whole blocks."""
    blocks = [-(-size // _BLOCK) * _BLOCK for size in sizes]
    return Line(what, statistics.mean(sizes), statistics.mean(blocks))


def in_database(what: str, total: int, count: int) -> Line:
    """Return what one of `count` rows takes of a database of `total` bytes."""
    return Line(what, total / count, total / count)


def page(lines: Sequence[Line], described: str) -> str:
    """Return the page as Markdown."""
    table = ["| | GB for a million | bytes each | on the disk |", "|---|---:|---:|---:|"]
    table += [f"| {one.what} | **{one.on_disk / 1000:.1f}** | {one.bytes:,.0f} | {one.on_disk:,.0f} |" for one in lines]
    return _TEMPLATE.read_text(encoding="utf-8").format(disk="\n".join(table), machine=described)


def measure(bench: Bench, images: int, postgresql: URL | None) -> Iterator[Line]:
    """Yield the lines of the table, from catalogues of `images` images."""
    photos = photos_of(bench.folder)
    mean_kb = statistics.mean(map(len, photos)) / 1000
    yield as_files(f"photos as they were uploaded, here of {mean_kb:.0f} kB", list(map(len, photos)))
    sandbox = Sandbox(*_SANDBOX)
    yield as_files(
        "thumbnails, made when a photo is first looked at",
        [len(sandbox.thumbnail(data, SIZE)) for data in photos[:_FILES]],
    )
    sandbox.close()
    yield as_files("results in the store, one file each", list(_results()))
    with tempfile.TemporaryDirectory(prefix="tagfleet-bench-") as scratch:
        sqlite = of_size(URL.create("sqlite", database=str(Path(scratch) / "catalog.db")), images)
        yield in_database("`catalog.db`: rows and indexes", _filled(sqlite, images), images)
        if postgresql is not None:
            yield in_database("PostgreSQL: the same", _filled(of_size(postgresql, images), images), images)
        yield in_database("`queues.db`, if every photo waits", _queued(Path(scratch)), _MESSAGES)


def _filled(url: URL, images: int) -> int:
    ensure_filled(url, images)
    return disk_bytes(url)


def _results() -> Iterator[int]:
    """Yield the sizes of some results as a worker stores them."""
    for batch, images in islice(plan_catalogue(_FILES, time.time()), _FILES):
        for image in images:
            result = Result(
                batch_id=batch.id,
                image_id=image.id,
                name=image.name,
                tagger=rows.TAGGER,
                tags=tuple(Tag.model_validate(tag) for tag in image.said),
                worker="w-0123456789",
                finished_at=batch.closed_at,
                timings_ms=Timings.model_validate(json.loads(image.timings)),
                width=image.size[0],
                height=image.size[1],
            )
            yield len(encode(result).encode())


def _queued(home: Path) -> int:
    """Return the size of the queues' file while jobs wait."""
    settings = config.load({"TAGFLEET_HOME": str(home)})
    pool = settings.default_pool
    queue = Backend(settings).jobs(pool)
    queue.send([job("bat_01m8p3j0m1arkentvrhg6j", number, pool) for number in range(_MESSAGES)])
    with closing(sqlite3.connect(home / "queues.db")) as file:
        pages, size = (int(file.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_count", "page_size"))
    return pages * size


@click.command()
@click.option(
    "--docs", type=click.Path(exists=True, file_okay=False, path_type=Path), default="docs", show_default=True
)
@click.option("--images", default=100_000, show_default=True, help="images of the catalogues that are filled")
@click.option("--postgresql", default="", help="URL of a PostgreSQL database, in whose server another is made and kept")
@click.pass_obj
def command(bench: Bench, docs: Path, images: int, postgresql: str) -> Iterator[str]:
    """Write docs/sizes.md: the disk for a million photos, and when to move to larger deployments."""
    telemetry.configure("bench", level="error")
    url = make_url(postgresql).set(drivername="postgresql+psycopg") if postgresql else None
    (docs / PAGE).write_text(page(list(measure(bench, images, url)), machine()), encoding="utf-8")
    yield f"wrote {docs / PAGE}"
