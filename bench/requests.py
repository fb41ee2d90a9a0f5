"""Count the requests to S3 and SQS that images cost on each path, on the server's side, and price them.

Control loop, heartbeats and idle polls cost by the hour, and are in `python -m bench costs`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import click

from bench.fleet import Bench
from bench.paths import PATHS, Counted, Paths
from bench.small_cloud.process import small_cloud
from config import settings as config
from core import telemetry
from tagfleet.text_tables import Column, table_lines, terminal_width

BUCKET = "bucket"


def count_requests(
    environ: Mapping[str, str], count: int, latency_ms: float, workers: int
) -> Iterator[tuple[str, Counted]]:
    """Yield the requests of each path. The bucket has `count` images, the other paths a fifth of that."""
    for name, path in PATHS.items():
        with small_cloud(latency_ms) as cloud, tempfile.TemporaryDirectory(prefix="tagfleet-bench-") as scratch:
            settings = config.load({**environ, "TAGFLEET_HOME": str(Path(scratch)), **cloud.settings})
            yield name, path(Paths(cloud, settings, workers), count if name == BUCKET else max(1, count // 5))


@click.command()
@click.option("--count", default=10_000, help="images of the bucket; a portion of a run has 10,000")
@click.option("--latency-ms", default=30.0, help="time of an answer of S3 and SQS")
@click.option("--workers", default=2)
@click.pass_obj
def command(bench: Bench, count: int, latency_ms: float, workers: int) -> Iterator[str]:
    """Count the requests to S3 and SQS per 1,000 images of an upload, of dropped files and of a bucket run."""
    telemetry.configure("bench", level="warning")
    found: dict[str, Counted] = {}
    for name, counted in count_requests(bench.environ, count, latency_ms, workers):
        found[name] = counted
        yield f"{name}, {counted.images} images:"
        operations = sorted(counted.operations.items())
        rows = [(operation, f"{1000 * times / counted.images:.1f}") for operation, times in operations]
        yield from table_lines(["", Column("per 1,000", right=True)], rows, width=terminal_width(), indent=2)
    columns = [Column("per 1,000"), *(Column(kind, right=True) for kind in ("GET", "PUT", "LIST", "SQS", "$/million"))]
    priced = [
        (name, *(f"{times:.1f}" for times in one.per_thousand().values()), f"{one.dollars_per_million():.2f}")
        for name, one in found.items()
    ]
    yield from table_lines(columns, priced, width=terminal_width())
    yield f"a bucket of a million: ${found[BUCKET].dollars_per_million():.2f} in requests"
