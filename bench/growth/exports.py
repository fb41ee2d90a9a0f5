"""Measure what an export of a whole batch adds to a process's memory; each runs in a process of its own.

`python -m bench.growth.exports FORMAT BATCH`, with the catalogue's URL in the environment, prints bytes written,
seconds, and how many MB the process grew by after its first piece.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator

from sqlalchemy import make_url

from bench.growth.service import Service
from core.util.interpreter import module_command
from web_tier.api.exports.coco import as_coco
from web_tier.api.exports.rows import as_csv, as_json_lines
from web_tier.api.exports.sidecars import as_sidecars
from web_tier.api.exports.source import Source
from web_tier.catalog.batches import Catalog
from web_tier.catalog.database import Database

_URL = "TAGFLEET_BENCH_CATALOG"
_FORMATS = {"csv": as_csv, "jsonl": as_json_lines, "coco": as_coco, "xmp": as_sidecars}


def report(service: Service, url: str) -> Iterator[str]:
    """Yield a line on each format: an export of the largest batch of the catalogue at `url`."""
    for format_ in _FORMATS:
        done = subprocess.run(
            module_command("bench.growth.exports", format_, service.subjects.largest),
            env=os.environ | {_URL: url},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        size, seconds, grown = map(float, done.stdout.split())
        yield (
            f"  export of {service.subjects.size:,} images as {format_}: {size / 1e6:,.0f} MB in {seconds:.0f} s,"
            f" the process grew by {grown:.0f} MB"
        )


def _measure(format_: str, batch_id: str) -> str:
    source = Source(Catalog(Database(make_url(os.environ[_URL]))), batch_id)
    began = time.perf_counter()
    pieces = iter(_FORMATS[format_](source))
    size = len(next(pieces)) + len(next(pieces, b""))
    before = _peak_mb()
    size += sum(map(len, pieces))
    return f"{size} {time.perf_counter() - began} {_peak_mb() - before}"


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


if __name__ == "__main__":
    print(_measure(*sys.argv[1:]))
