"""Compare one worker's pipeline on S3 and SQS with the same pipeline on files and SQLite: images/s and requests.

Both run in this process, in turn. S3 and SQS are `bench.small_cloud`, another process on loopback.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import NoReturn

import click

from app_tier.pipeline.pipeline import Pipeline, PipelineOptions, PipelinePorts
from app_tier.taggers import Tagger
from bench.deployment import wait_until
from bench.fleet import Bench
from bench.limit import Limit
from bench.photos import photos as make_photos
from config import settings as config
from config.settings import Settings
from core import telemetry
from core.aws.platform import AwsPlatform
from core.domain.ids import new_id
from core.domain.messages import Job, encode
from core.local.platform import LocalPlatform
from core.storage import layout
from core.storage.originals import Originals
from core.util.interpreter import module_command
from core.wiring import Platform
from tagfleet.text_tables import Column, table_lines, terminal_width

_POOL = "resnet50"
_NAMES = {"TAGFLEET_BACKEND": "aws", "TAGFLEET_AWS__INPUT_BUCKET": "in", "TAGFLEET_AWS__OUTPUT_BUCKET": "out"}


@dataclass(frozen=True)
class Run:
    """One round: images/s from the first receive to the last acknowledgement, and the requests of the whole round."""

    rate: float
    cpu_ms: float
    """Processor time of this process per image. Other work on the machine hardly changes it."""
    requests: Mapping[str, int] = field(default_factory=dict)

    def of(self, service: str) -> int:
        """Return the number of requests to one service, "s3" or "sqs"."""
        return sum(count for name, count in self.requests.items() if name.startswith(f"{service}."))


@contextmanager
def small_cloud(latency_ms: float) -> Iterator[dict[str, str]]:
    """Run a cloud in memory and yield the settings that select it.

    Sets AWS's own environment variables for this process.
    """
    command = module_command("bench.small_cloud", str(latency_ms))
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        os.environ |= {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{process.stdout.readline().strip()}",
            "AWS_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
        }
        yield _NAMES
    finally:
        process.communicate()


def compared(local: Settings, cloud: Settings, tagger: Tagger, photos: Sequence[bytes], rounds: int) -> Iterator[str]:
    """Yield the lines of a table. Both backends run in turn, so that other work on the machine slows both alike."""
    yield f"{len(photos)} photos a round, images/s of one worker:"
    yield "round    local      aws   aws/local   ms of processor, local and aws"
    telemetry.configure("bench", level="warning")
    ratios: list[float] = []
    requests: list[Run] = []
    for number in range(rounds):
        ours, theirs = run(LocalPlatform(local), local, tagger, photos), run(AwsPlatform(cloud), cloud, tagger, photos)
        ratios.append(theirs.rate / ours.rate)
        requests.append(theirs)
        rates = f"{ours.rate:8.1f} {theirs.rate:8.1f} {ratios[-1]:11.2f}"
        yield f"{number + 1:5} {rates} {ours.cpu_ms:8.1f} {theirs.cpu_ms:8.1f}"
    yield f"aws/local {statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f}, {rounds} rounds)"
    yield "requests per 1,000 images, in the median:"
    counts = {service: statistics.median(run.of(service) for run in requests) for service in ("s3", "sqs")}
    counts |= dict(sorted(requests[-1].requests.items()))
    rows = [(name, f"{1000 * count / len(photos):.0f}") for name, count in counts.items()]
    yield from table_lines(["", Column(right=True)], rows, width=terminal_width(), indent=2)


def run(parts: Platform, settings: Settings, tagger: Tagger, photos: Sequence[bytes]) -> Run:
    """Upload all photos, send all jobs, tag them, and receive the results. Only the tagging is timed."""
    before = _requests(parts)
    store, jobs, results = parts.store(), parts.queue(layout.jobs_queue(_POOL)), parts.queue(layout.RESULTS_QUEUE)
    bodies = []
    for data in photos:
        image_id = new_id("img")
        key = layout.image_key("bat_1", image_id)
        store.put(key, data)
        job = Job(batch_id="bat_1", image_id=image_id, key=key, name="a.jpg", tagger=_POOL, submitted_at=time.time())
        bodies.append(encode(job))
    jobs.send(bodies)
    ports = PipelinePorts(jobs, results, store, Originals(store, _nowhere, 1 << 30))
    options = PipelineOptions(settings.worker, "bench", settings.queue.visibility_timeout_s)
    pipeline = Pipeline(tagger, ports, options)
    started, cpu = time.perf_counter(), time.process_time()
    pipeline.start()
    wait_until(lambda: pipeline.images_done + pipeline.images_failed == len(photos), 600)
    rate = len(photos) / (time.perf_counter() - started)
    cpu_ms = 1000 * (time.process_time() - cpu) / len(photos)
    pipeline.draining.set()
    wait_until(lambda: pipeline.wait_until_drained(1.0))
    pipeline.close()
    left = len(photos)
    while left and (deliveries := results.receive(100, 1.0)):
        results.delete(deliveries)
        left -= len(deliveries)
    after = _requests(parts)
    return Run(rate, cpu_ms, {name: count - before.get(name, 0) for name, count in after.items()})


def _requests(parts: Platform) -> Mapping[str, int]:
    return parts.clients.requests() if isinstance(parts, AwsPlatform) else {}


def _nowhere() -> NoReturn:
    raise AssertionError("every photo is in the store")


@click.command()
@click.option("--count", default=1000, help="photos a round")
@click.option("--rounds", default=5)
@click.option("--latency-ms", default=0.0, help="time of an answer of S3 and SQS; in a region S3 takes 20 to 50")
@click.option("--threads", default=2, help="threads that fetch, and threads that finish, on AWS")
@click.pass_obj
def command(bench: Bench, count: int, rounds: int, latency_ms: float, threads: int) -> Iterator[str]:
    """Compare one worker on S3 and SQS (in memory, on loopback) with files and SQLite.

    Prints images/s and requests per 1,000 images.
    """
    contents = [content for _, content in make_photos(bench.folder, count)]
    with small_cloud(latency_ms) as names, tempfile.TemporaryDirectory(prefix="tagfleet-bench-") as scratch:
        home = {**bench.environ, "TAGFLEET_HOME": scratch}
        local = config.load(home)
        threaded = {"worker.fetch_threads": threads, "worker.finish_threads": threads}
        cloud = config.load({**home, **names}, flags=threaded)
        yield from compared(local, cloud, Limit(local).tagger, contents, rounds)
