"""Measure a whole deployment as a client sees it: from the first upload until the last result is in the catalogue.

Each command yields the lines of its report as they are measured.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import click

from bench import taggers
from bench.deployment import Deployment, wait_until
from bench.limit import Limit
from bench.photos import photos
from tagfleet.client import Batch, Client
from tagfleet.text_tables import Column, table_lines, terminal_width

_SHORTEST_S, _LONGEST_S = 0.05, 1.0
"""Range of the pauses between requests for a batch. Each slows the measured service, so they are rare until the end."""
_WARM_UP = 32
_FIRST = 200
"""Photos tagged before the first reading of the memory."""
_KEEP_WORKERS = {"TAGFLEET_CONTROLLER__IDLE_KEEP_S": "600"}


def tag(client: Client, pictures: Sequence[tuple[str, bytes]]) -> tuple[Batch, float]:
    """Return the completed batch, and the seconds from its creation to its last result.

    Raises RuntimeError if an image is lost.
    """
    started = time.perf_counter()
    batch = client.create_batch()
    # The check would recognise the photos of the round before and send nothing.
    client.upload(batch, [(name, BytesIO(data)) for name, data in pictures], check=False)
    client.close(batch)
    while (batch := client.batch(batch)).status != "completed":
        time.sleep(min(max((batch.eta_s or 0.0) / 4, _SHORTEST_S), _LONGEST_S))
    took = time.perf_counter() - started
    if (batch.total, batch.completed, batch.failed) != (len(pictures), len(pictures), 0):
        raise RuntimeError(f"{len(pictures)} photos were sent, the batch has {batch}")
    return batch, took


class Bench:
    """The photos and the settings that every measurement uses. Without a folder the photos are synthetic."""

    def __init__(self, folder: Path | None, environ: dict[str, str], say: Callable[[str], None]) -> None:
        self.folder = folder
        self.environ = environ
        self._say = say

    @contextmanager
    def deployment(self, tagger: str = "resnet50", **environ: str) -> Iterator[tuple[Deployment, Client]]:
        """Run a deployment for the block and print what it serves."""
        with tempfile.TemporaryDirectory(prefix="tagfleet-bench-") as scratch:
            found = taggers.served(tagger, self.environ, Path(scratch))
            deployment = Deployment(Path(scratch) / "home", {**self.environ, **found.environ, **environ})
            found.prepare(deployment)
            try:
                deployment.start()
                with Client(deployment.url) as client:
                    self._say(f"tagger: {', '.join(model['serves'] for model in client.models())}")
                    yield deployment, client
                    deployment.stop()
            finally:
                deployment.kill_everything()


@click.command()
@click.option("--count", default=800, help="photos a round")
@click.option("--rounds", default=5)
@click.option("--tagger", default="resnet50", show_default=True, help="its weights are random if there are no others")
@click.pass_obj
def speed(bench: Bench, count: int, rounds: int, tagger: str) -> Iterator[str]:
    """Measure images/s of engine, limit and fleet, interleaved.

    The last line is the ratio that counts: the fleet's share of the limit.
    """
    pictures = photos(bench.folder, count)
    contents = [content for _, content in pictures]
    with bench.deployment(tagger, **_KEEP_WORKERS) as (deployment, client):
        limit = Limit(deployment.settings)
        limit.decode_and_engine(contents[:_WARM_UP])
        tag(client, pictures[:_WARM_UP])
        yield f"{count} photos a round, {statistics.mean(map(len, contents)) / 1000:.0f} kB each, images/s:"
        yield "round   engine    limit    fleet   fleet/limit"
        ratios = []
        costs: defaultdict[str, float] = defaultdict(float)
        for number in range(1, rounds + 1):
            bare = limit.engine(contents)
            with _add_cost(costs, "limit", deployment):
                best = limit.decode_and_engine(contents)
            with _add_cost(costs, "client", deployment):
                whole = count / tag(client, pictures)[1]
            ratios.append(whole / best)
            yield f"{number:5} {bare:8.1f} {best:8.1f} {whole:8.1f}   {ratios[-1]:11.2f}"
    yield "processor time by process:"
    ordered = sorted(costs.items(), key=lambda item: -item[1])
    rows = [(role, f"{1000 * seconds / count / rounds:.2f}") for role, seconds in ordered]
    yield from table_lines(["process", Column("ms an image", right=True)], rows, width=terminal_width(), indent=2)
    low, middle, high = min(ratios), statistics.median(ratios), max(ratios)
    yield f"fleet/limit {middle:.2f} ({low:.2f}–{high:.2f}, {rounds} rounds)"


@click.command()
@click.option("--count", default=30, help="photos a batch")
@click.option("--rounds", default=5)
@click.pass_obj
def latency(bench: Bench, count: int, rounds: int) -> Iterator[str]:
    """Measure the seconds for a small batch, from zero workers and with a warm one, and a worker's boot."""
    pictures = photos(bench.folder, count)
    cold, warm, boots = [], [], []
    for _ in range(rounds):
        with bench.deployment() as (_, client):
            cold.append(tag(client, pictures)[1])
            warm.append(tag(client, pictures)[1])
            boots += [worker["boot"] for worker in client.fleet()["workers"] if worker["boot"]]
    yield f"{count} photos, all results in the catalogue:"
    yield f"  from zero workers  {format_spread(cold)}"
    yield f"  with a warm worker {format_spread(warm)}"
    yield "a worker's boot, seconds from its launch:"
    rows = [(phase, format_spread([boot[phase] for boot in boots])) for phase in boots[0]]
    yield from table_lines(["", ""], rows, width=terminal_width(), indent=2)


@click.command()
@click.option("--count", default=2000, help="photos of the batch")
@click.pass_obj
def memory(bench: Bench, count: int) -> Iterator[str]:
    """Measure the growth of each process's resident memory over one large batch, after its first 200 photos."""
    pictures = photos(bench.folder, count)
    with bench.deployment(**_KEEP_WORKERS) as (deployment, client):
        tag(client, pictures[:_FIRST])
        before = {process: process.rss_bytes() for process in deployment.processes()}
        tag(client, pictures)
        wait_until(lambda: not deployment.backend.results.depth().outstanding)
        yield f"resident memory, MB, after {_FIRST} photos and after {count} more:"
        rows = []
        for process, was in sorted(before.items(), key=lambda item: item[0].role):
            now = process.rss_bytes()
            rows.append((process.role, *(f"{size / 1e6:.0f}" for size in (was, now)), f"{(now - was) / 1e6:+.0f}"))
    columns = [Column("process"), *(Column(name, right=True) for name in ("before", "after", "growth"))]
    yield from table_lines(columns, rows, width=terminal_width(), indent=2)


def format_spread(values: Sequence[float], unit: str = "s", digits: int = 2) -> str:
    """Return the median, the extremes and the number of rounds."""
    low, middle, high = (f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values)))
    return f"{middle:>5} {unit} ({low}–{high}, {len(values)} rounds)"


@contextmanager
def _add_cost(costs: defaultdict[str, float], ours: str, deployment: Deployment) -> Iterator[None]:
    """Add the processor seconds of this process to `ours`, and those of the deployment to each role's."""
    before = {process: process.cpu_seconds() for process in deployment.processes()}
    started = time.process_time()
    yield
    costs[ours] += time.process_time() - started
    if ours != "limit":
        for process in deployment.processes():
            costs[process.role] += process.cpu_seconds() - before.get(process, 0.0)
