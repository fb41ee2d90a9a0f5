"""Measure GETs of a batch and records of results on two filled catalogues, SQLite beside PostgreSQL.

Both are measured by turns, several times, so that their ratio holds on a busy machine, too. Use copies: images are
added.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import click
from sqlalchemy import URL

from bench import catalogs
from bench.asking import asking
from bench.processes import serving
from core.domain.ids import new_id
from web_tier.catalog.batches import Batch, Catalog, Upload
from web_tier.catalog.database import Database, migrate
from web_tier.catalog.results import ImageOutcome, ResultCatalog

GROUP = 100
"""Results that the collector records at once."""
_SECONDS = 5.0
_LABELS = 1000
_TAGS = 5


def gets_per_second(url: str, batch_id: str, connections: int, seconds: float) -> float:
    """Return the GETs of a batch a second that the web tier at `url` answers, over `connections` kept connections."""
    with asking(url, f"/api/v1/batches/{batch_id}", connections) as asker:
        return asker.ask(seconds).rate


def results_per_second(database: Database, groups: int) -> float:
    """Add a batch of waiting images, and return how many results/s the collector records in groups of 100."""
    catalog = ResultCatalog(database)
    batch_id, waiting = _add_waiting(catalog, groups)
    chance = random.Random(len(waiting))
    outcomes = [[_outcome(batch_id, image_id, chance) for image_id in group] for group in waiting]
    began = time.perf_counter()
    for group in outcomes:
        catalog.record(group, time.time())
    return GROUP * groups / (time.perf_counter() - began)


def _add_waiting(catalog: ResultCatalog, groups: int) -> tuple[str, list[list[str]]]:
    now = time.time()
    batch = Batch(new_id("bat", now), "resnet50", {}, {}, now, None, None, 0, 0, 0, 0, changed_at=now)
    catalog.create_batch(batch, payload_hash="")
    waiting = []
    for number in range(groups):
        hashes = (f"{random.getrandbits(256):064x}" for _ in range(GROUP))  # contents differ
        uploads = [Upload(new_id("img", now), f"{number}-{one[:8]}.jpg", one, 80_000) for one in hashes]
        waiting.append([image.id for image in catalog.add_images(batch.id, uploads, now)])
        catalog.mark_sent(waiting[-1])
    return batch.id, waiting


def _outcome(batch_id: str, image_id: str, chance: random.Random) -> ImageOutcome:
    """Return a result with five tags, by Zipf's law."""
    numbers = {min(int(1 / (1 - chance.random() * (1 - 1 / _LABELS))), _LABELS) for _ in range(3 * _TAGS)}
    tags = [
        {"name": f"Label {number}", "confidence": 0.9 / number, "source": "model", "instances": []}
        for number in sorted(numbers)[:_TAGS]
    ]
    timings = {"queue": 1.0, "fetch": 2.0, "decode": 3.0, "infer": 4.0}
    return ImageOutcome(batch_id, image_id, "photo.jpg", None, tags, None, timings, "bench@1", time.time())


def report(file: Path, place: str, *, connections: int, groups: int, rounds: int) -> Iterator[str]:
    """Yield a line for each measurement: the medians of both catalogues, and PostgreSQL's as a part of SQLite's."""
    sqlite = URL.create("sqlite", database=str(file))
    migrate(sqlite)
    with ExitStack() as stack:
        first = Database(sqlite)
        stack.callback(first.close)
        _, second = stack.enter_context(catalogs.opened(place, file.parent))
        pairs = [(results_per_second(first, groups), results_per_second(second, groups)) for _ in range(rounds)]
        yield f"results/s by {GROUP}: {_compared(pairs)}"
        newest = [Catalog(database).list_batches(1)[0].id for database in (first, second)]
        stack.close()
        home = Path(stack.enter_context(TemporaryDirectory(prefix="tagfleet-bench-", dir=file.parent)))
        (home / "catalog.db").hardlink_to(file)
        other = Path(stack.enter_context(TemporaryDirectory(prefix="tagfleet-bench-")))
        webs = [
            stack.enter_context(serving(home, 1, {})),
            stack.enter_context(serving(other, 1, {"TAGFLEET_WEB__CATALOG_URL": place})),
        ]
        asked = [(web.url, batch_id) for web, batch_id in zip(webs, newest, strict=True)]
        pairs = []
        for _ in range(rounds):
            its, others = (gets_per_second(url, batch_id, connections, _SECONDS) for url, batch_id in asked)
            pairs.append((its, others))
        yield f"GETs of a batch/s, {connections} connections: {_compared(pairs)}"


def _compared(pairs: Sequence[tuple[float, float]]) -> str:
    sqlite, postgresql = (statistics.median(own) for own in zip(*pairs, strict=True))
    ratio = statistics.median(its / own for own, its in pairs)
    return f"SQLite {sqlite:,.0f}, PostgreSQL {postgresql:,.0f}, ratio {ratio:.2f}"


@click.command()
@click.option("--sqlite", "file", required=True, type=click.Path(path_type=Path), help="a copy of a filled catalog.db")
@click.option("--postgresql", "place", required=True, help="URL of a copy of a filled database")
@click.option("--connections", default=64, show_default=True)
@click.option("--groups", default=50, show_default=True, help="groups of 100 results a round")
@click.option("--rounds", default=5, show_default=True)
def command(file: Path, place: str, connections: int, groups: int, rounds: int) -> Iterator[str]:
    """Measure GETs of a batch and records of results on SQLite beside PostgreSQL, on copies of filled catalogues."""
    return report(file, place, connections=connections, groups=groups, rounds=rounds)
