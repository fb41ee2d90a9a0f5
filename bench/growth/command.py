"""The command: fill, measure, print."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import click
from sqlalchemy import URL, make_url

from bench.growth import exports, migration
from bench.growth.catalogues import copied, disk_bytes, ensure_filled, of_size, short
from bench.growth.operations import operations
from bench.growth.service import service
from bench.growth.table import Row, table
from bench.growth.timing import median_ms
from core import telemetry

_STEPS = (100, 10, 1)


def _base(database: str, scratch: str) -> URL:
    if not database:
        return URL.create("sqlite", database=str(Path(scratch) / "catalog.db"))
    url = make_url(database)
    return url if url.drivername == "sqlite" else url.set(drivername="postgresql+psycopg")


def report(images: int, base: URL, scratch: Path, clock: Callable[[], float]) -> Iterator[str]:
    """Yield the lines of the report on catalogues of up to `images` images."""
    sizes = [max(1, images // step) for step in _STEPS]
    kinds = {}
    measured: list[dict[str, float | None]] = []
    for size in sizes:
        url = of_size(base, size)
        yield from _filled(url, size)
        with copied(url, scratch) as copy, service(copy, size, scratch) as found:
            times: dict[str, float | None] = {}
            for operation in operations(found):
                times[operation.name] = median_ms(operation, clock)
                kinds[operation.name] = operation.kind
            measured.append(times)
            if size == sizes[-1]:
                yield from exports.report(found, copy.render_as_string(hide_password=False))
        _empty(scratch)
    rows = [Row(name, kinds[name], [times.get(name) for times in measured]) for name in kinds]
    yield f"{base.get_backend_name()}, {time.strftime('%Y-%m-%d')}:"
    yield from table(rows, sizes)


def _filled(url: URL, size: int, revision: str | None = None) -> Iterator[str]:
    took = ensure_filled(url, size, revision)
    how = "found" if took is None else f"filled in {took:.0f} s"
    yield f"{short(size)} images: {how}, {disk_bytes(url) / 1e6:,.0f} MB, {disk_bytes(url) / size:,.0f} bytes an image"


def _empty(scratch: Path) -> None:
    """Remove the queues of one size before the next."""
    for path in scratch.glob("queues.db*"):
        path.unlink()


@click.command()
@click.option("--images", default=1_000_000, show_default=True)
@click.option(
    "--database",
    default="",
    help="URL: sqlite:///FOLDER/catalog.db, or of a PostgreSQL database whose name is the beginning of those that are "
    "made  [default: SQLite files that are removed afterwards]",
)
@click.option("--fill-only", is_flag=True, help="fill the catalogues, measure nothing")
@click.option("--migration", "migrates", is_flag=True, help="time the last migration of a filled catalogue instead")
@click.option(
    "--processor", is_flag=True, help="time this process on the processor, on a busy machine: not for PostgreSQL"
)
def command(images: int, database: str, fill_only: bool, migrates: bool, processor: bool) -> Iterator[str]:
    """Measure how reads and writes grow from a hundredth of the images to all of them.

    Catalogues stay where --database says, and are used again by the next run; what is measured are copies of them.
    """
    telemetry.configure("bench", level="error")
    with tempfile.TemporaryDirectory(prefix="tagfleet-bench-", dir=_beside(database)) as scratch:
        base = _base(database, scratch)
        if migrates:
            yield from migration.report(images, base, Path(scratch))
        elif fill_only:
            for step in _STEPS:
                yield from _filled(of_size(base, images // step), images // step)
        else:
            yield from report(images, base, Path(scratch), time.process_time if processor else time.perf_counter)


def _beside(database: str) -> str | None:
    """Return the folder for copies: beside SQLite files, which may not fit elsewhere."""
    if not database.startswith("sqlite"):
        return None
    return str(Path(str(make_url(database).database)).resolve().parent)
