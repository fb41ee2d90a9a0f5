"""Measure how well one worker feeds its tagger at S3's distance: images/s by latency, processor time, memory.

1. The worker's real pipeline runs in this process, with the default settings of a deployment on AWS. S3 and SQS are
   `bench.small_cloud`, another process, whose every answer takes the latency.
2. The tagger costs nothing and nothing is decoded, so what is left is the pipeline: receive, fetch, store, send,
   acknowledge. The images are noise, which a real decoder would refuse: then the measurement fails.
3. A round of each kind follows the other, so that other work on the machine slows all alike. Before its measurement a
   pipeline works on some images, in which it finds its sizes. Then all jobs are there at once, and the time runs until
   the last is acknowledged.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from app_tier.pipeline.item import WorkItem
from app_tier.pipeline.pipeline import Pipeline, PipelineOptions, PipelinePorts
from app_tier.taggers import Tagger
from bench.deployment import wait_until
from bench.fleet import Bench
from bench.free import FreeTagger, NoDecoding, SimulatedDevice
from bench.small_cloud.process import SmallCloud, small_cloud
from config import settings as config
from config.settings import Settings
from core import telemetry
from core.domain.ids import new_id
from core.domain.messages import Job, encode
from core.storage import layout
from core.storage.originals import Originals
from core.storage.ports import Source
from core.wiring import Backend
from tagfleet.text_tables import Column, table_lines, terminal_width

_BYTES = 80_000
_WARM_UP = 400
_DIFFERENT = 64
_POLL_S = 0.005
_LATENCIES_MS = (0, 15, 30)
_NEAR, _FAR = "0 ms", "30 ms"
_BULK = "30 ms, bulk run"
_DEVICE = "30 ms, a device of 500 images/s"
_DEVICE_RATE, _DEVICE_BATCH = 500.0, 64
_SLOW_S = 0.1
_LARGE_BYTES = 64 << 20
_LARGE_IMAGES = 24
_SAMPLE_S = 0.005


@dataclass(frozen=True)
class Round:
    """One measurement."""

    rate: float
    """Images/s."""
    cpu_ms: float
    """Processor time of this process for each image. Other work on the machine hardly changes it."""
    busy: float
    """The tagger's, between its first batch and its last."""


class Worker:
    """Makes pipelines of one deployment on the stand-in, each with a queue of its own."""

    def __init__(self, cloud: SmallCloud, settings: Settings, warm_up: int = _WARM_UP) -> None:
        """Each pipeline works on `warm_up` images before it is measured."""
        self._cloud = cloud
        self._settings = settings
        self._backend = Backend(settings)
        self._warm_up = warm_up
        self._pools = 0
        self._keys: list[str] = []

    def store_images(self, count: int) -> None:
        """Put images of 80 kB of noise into the store."""
        contents = [os.urandom(_BYTES) for _ in range(_DIFFERENT)]
        while len(self._keys) < count:
            keys = [layout.image_key("bat_1", new_id("img")) for _ in range(_DIFFERENT)]
            self._backend.store.put_all(dict(zip(keys, contents, strict=True)))
            self._keys += keys

    def run(self, count: int, *, tagger: FreeTagger, bulk: bool = False) -> Round:
        """Tag `count` images. In `bulk`, their jobs are a bucket run's: addresses, and results that are not sent."""
        with self._pipeline(tagger) as (pipeline, queue):
            self._cloud.send(queue, self._jobs(self._warm_up, bulk))
            _wait(pipeline, self._warm_up)
            bodies = self._jobs(count, bulk)
            tagger.restart()
            cpu, started = time.process_time(), time.perf_counter()
            self._cloud.send(queue, bodies)
            _wait(pipeline, self._warm_up + count)
            took = time.perf_counter() - started
            cpu_ms = 1000 * (time.process_time() - cpu) / count
        if pipeline.images_failed:
            raise RuntimeError(f"{pipeline.images_failed} images failed")
        return Round(count / took, cpu_ms, tagger.busy_share)

    def run_large(self) -> tuple[float, float]:
        """Tag images of 64 MB. Return MB at their highest: fetched images held, and growth of resident memory."""
        key = layout.image_key("bat_1", new_id("img"))
        self._backend.store.put(key, bytes(_LARGE_BYTES))
        self._keys, kept = [key], self._keys
        with self._pipeline(FreeTagger(), _SlowDecoding) as (pipeline, queue), _memory() as grown:
            self._cloud.send(queue, self._jobs(_LARGE_IMAGES, bulk=False))
            _wait(pipeline, _LARGE_IMAGES)
        self._keys = kept
        held = pipeline.most_fetched_bytes
        return held / (1 << 20), max(grown) / (1 << 20)

    @property
    def bound_mb(self) -> int:
        """The setting's bound on the images that are held, in MB."""
        return self._settings.worker.fetched_mb

    @contextmanager
    def _pipeline(self, tagger: Tagger, decoding: type[NoDecoding] = NoDecoding) -> Iterator[tuple[Pipeline, str]]:
        """Run a pipeline for the block, with its queue's full name."""
        self._pools += 1
        pool = f"pool{self._pools}"
        backend, settings = self._backend, self._settings
        ports = PipelinePorts(
            backend.jobs(pool), backend.results, backend.store, Originals(backend.store, self._source, 1 << 30)
        )
        options = PipelineOptions(settings.worker, "bench", settings.queue.visibility_timeout_s, decoding=decoding)
        pipeline = Pipeline(tagger, ports, options)
        pipeline.start()
        yield pipeline, f"{settings.aws.deployment}-{layout.jobs_queue(pool)}"
        pipeline.draining.set()
        wait_until(lambda: pipeline.wait_until_drained(1.0))
        pipeline.close()

    def _jobs(self, count: int, bulk: bool) -> list[str]:
        """Return the messages of jobs. Each has an image id of its own, so each has a result."""
        run = new_id("run") if bulk else "bat_1"
        bucket = self._settings.aws.input_bucket
        now = time.time()
        return [
            encode(
                Job(
                    batch_id=run,
                    image_id=f"00001-{number:05}" if bulk else new_id("img"),
                    key=f"s3://{bucket}/{key}" if bulk else key,
                    name="a.jpg",
                    tagger="free",
                    submitted_at=now,
                    store_only=bulk,
                    pack=bulk,
                )
            )
            for number in range(count)
            for key in [self._keys[number % len(self._keys)]]
        ]

    def _source(self) -> Source:
        return self._backend.source


class _SlowDecoding(NoDecoding):
    """Takes a while, so that fetched images wait."""

    def _decode_here(self, item: WorkItem) -> str:
        time.sleep(_SLOW_S)
        return super()._decode_here(item)


def _wait(pipeline: Pipeline, count: int) -> None:
    """Wait until so many images are finished. Raises RuntimeError if a stage fails."""
    while pipeline.images_done + pipeline.images_failed < count:
        if pipeline.failure is not None:
            raise RuntimeError("a stage failed") from pipeline.failure
        time.sleep(_POLL_S)


@contextmanager
def _memory() -> Iterator[list[int]]:
    """Yield a list that gets the growth of this process's resident memory, in bytes, every few milliseconds."""
    page, statm = os.sysconf("SC_PAGE_SIZE"), Path("/proc/self/statm")

    def resident() -> int:
        return int(statm.read_text().split()[1]) * page

    before, stop = resident(), threading.Event()
    grown = [0]

    def sample() -> None:
        while not stop.wait(_SAMPLE_S):
            grown.append(resident() - before)

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield grown
    finally:
        stop.set()
        thread.join()


def _measure(cloud: SmallCloud, worker: Worker, count: int) -> Iterator[tuple[str, Round]]:
    """Yield one round of each kind with its name."""
    for latency_ms in _LATENCIES_MS:
        cloud.control(latency_ms=latency_ms)
        yield f"{latency_ms} ms", worker.run(count, tagger=FreeTagger())
    yield _BULK, worker.run(count, tagger=FreeTagger(), bulk=True)
    yield _DEVICE, worker.run(count, tagger=SimulatedDevice(_DEVICE_RATE, _DEVICE_BATCH))
    cloud.control(latency_ms=0)


def _report(found: Mapping[str, Sequence[Round]]) -> Iterator[str]:
    columns = [Column(""), *(Column(name, right=True) for name in ("images/s", "ms of processor an image", "busy"))]
    rows = [
        (
            name,
            spread([one.rate for one in rounds], 0),
            spread([one.cpu_ms for one in rounds], 2),
            spread([one.busy for one in rounds], 2) if name == _DEVICE else "",
        )
        for name, rounds in found.items()
    ]
    yield from table_lines(columns, rows, width=terminal_width(), indent=2)
    ratios = [far.rate / near.rate for far, near in zip(found[_FAR], found[_NEAR], strict=True)]
    yield f"{_FAR} ÷ {_NEAR}: {spread(ratios, 2)}"


def last_line(found: Mapping[str, Sequence[Round]]) -> str:
    """Return the line that sums the measurement up: medians, and the median of each round's ratio."""
    far = found[_FAR]
    ratio = statistics.median(one.rate / near.rate for one, near in zip(far, found[_NEAR], strict=True))
    rate, cpu_ms = (statistics.median(values) for values in zip(*((one.rate, one.cpu_ms) for one in far), strict=True))
    return f"feed {rate:.0f} images/s at {_FAR}, {ratio:.2f} of {_NEAR}, {cpu_ms:.2f} ms an image"


def spread(values: Sequence[float], digits: int) -> str:
    """Return the median with the least and the most."""
    low, middle, high = (f"{value:.{digits}f}" for value in (min(values), statistics.median(values), max(values)))
    return f"{middle} ({low}–{high})"


@click.command()
@click.option("--count", default=8000, help="images a measurement")
@click.option("--rounds", default=5)
@click.pass_obj
def command(bench: Bench, count: int, rounds: int) -> Iterator[str]:
    """Measure how well one worker feeds its tagger on S3 and SQS that answer in 0, 15 and 30 ms.

    Prints images/s, processor time, the busy share of a device of 500 images/s, and memory with large images.
    """
    telemetry.configure("bench", level="warning")
    with small_cloud() as cloud, tempfile.TemporaryDirectory(prefix="tagfleet-bench-") as scratch:
        worker = Worker(cloud, config.load({**bench.environ, "TAGFLEET_HOME": scratch, **cloud.settings}))
        worker.store_images(count)
        yield f"{count} images of {_BYTES // 1000} kB, a free tagger, no decoding, {rounds} rounds"
        found: defaultdict[str, list[Round]] = defaultdict(list)
        for number in range(1, rounds + 1):
            for name, result in _measure(cloud, worker, count):
                found[name].append(result)
            yield f"round {number}: " + ", ".join(f"{name} {kept[-1].rate:.0f}/s" for name, kept in found.items())
        yield from _report(found)
        held, grown = zip(*(worker.run_large() for _ in range(rounds)), strict=True)
        yield f"{_LARGE_IMAGES} images of 64 MB in the queue, MB: held {max(held):.0f} of {worker.bound_mb} at most"
        yield f"  the process grew by {spread(grown, 0)}"
    yield last_line(found)
