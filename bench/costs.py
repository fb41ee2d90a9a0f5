"""Write docs/costs.md, and measure the figures that it is made from."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
import numpy as np

from app_tier.worker import selection
from bench import cost_model, cost_page, taggers
from bench.cost_model import Figures
from bench.feed import Worker
from bench.fleet import Bench
from bench.free import FreeTagger
from bench.machine import machine
from bench.photos import photos_of
from bench.requests import count_requests
from bench.small_cloud.process import small_cloud
from config import settings as config
from core import telemetry
from core.domain.messages import TagOptions
from core.imaging.decode import DecodeBudget, Decoder
from core.wiring import Backend

RECORD = "costs.json"
PAGE = "costs.md"
_TAGGERS = ("resnet50", "efficientnet-lite0")
_ROUNDS = 3
_ENGINE_IMAGES = 128
_DECODED = 400
_FED = 1000
_LATENCY_MS = 30.0
_WORKERS = 2


def _core_ms(work: Iterator[int]) -> float:
    """Return the processor's milliseconds for each image, of which `work` yields how many each step did."""
    started = time.process_time()
    done = sum(work)
    return 1000 * (time.process_time() - started) / done


def measure_tagger(
    name: str, environ: Mapping[str, str], contents: Sequence[bytes], scratch: Path
) -> tuple[str, float, float]:
    """Return the engine's name, and a core's milliseconds for decoding a photo and for the network."""
    settings = config.load({**environ, **taggers.served(name, environ, scratch).environ, "TAGFLEET_HOME": str(scratch)})
    pool = settings.pools[settings.default_pool]
    tagger = selection.choose(pool, settings, Backend(settings).store).load()
    decoder = Decoder(tagger.side, DecodeBudget(settings.worker.decode_memory_mb))
    frames = [tagger.preprocess(decoder.decode(data)) for data in contents]
    size = min(tagger.best_batch, tagger.most_at_once or tagger.best_batch)
    batch = np.stack([frames[number % len(frames)] for number in range(size)])

    def decode() -> Iterator[int]:
        for number in range(_DECODED):
            tagger.preprocess(decoder.decode(contents[number % len(contents)]))
            yield 1

    def infer() -> Iterator[int]:
        for _ in range(max(1, _ENGINE_IMAGES // size)):
            tagger.infer(batch, [TagOptions()] * size)
            yield size

    next(infer())
    decode_ms = statistics.median(_core_ms(decode()) for _ in range(_ROUNDS))
    engine_ms = statistics.median(_core_ms(infer()) for _ in range(_ROUNDS))
    return tagger.engine_name, decode_ms, engine_ms


def measure_pipeline(environ: Mapping[str, str], count: int) -> dict[str, float]:
    """Return a core's milliseconds of a worker's pipeline for each image, by path."""
    with small_cloud() as cloud, tempfile.TemporaryDirectory(prefix="tagfleet-bench-") as scratch:
        worker = Worker(cloud, config.load({**environ, "TAGFLEET_HOME": scratch, **cloud.settings}))
        worker.store_images(count)
        cloud.control(latency_ms=_LATENCY_MS)
        upload, bucket = (
            statistics.median(worker.run(count, tagger=FreeTagger(), bulk=bulk).cpu_ms for _ in range(_ROUNDS))
            for bulk in (False, True)
        )
    return {"upload": upload, "dropped file": upload, "bucket": bucket}


def measure(bench: Bench, images: int) -> Figures:
    """Measure everything, with a bucket of `images`."""
    contents = photos_of(bench.folder)
    with tempfile.TemporaryDirectory(prefix="tagfleet-bench-") as scratch:
        found = {name: measure_tagger(name, bench.environ, contents, Path(scratch)) for name in _TAGGERS}
    return Figures(
        machine=f"{machine()}, {_load()}",
        photo_kb=round(statistics.mean(map(len, contents)) / 1000, 1),
        decode_ms=round(statistics.median(decode_ms for _, decode_ms, _ in found.values()), 3),
        pipeline_ms={path: round(ms, 3) for path, ms in measure_pipeline(bench.environ, _FED).items()},
        engine_ms={name: round(engine_ms, 2) for name, (_, _, engine_ms) in found.items()},
        engines={name: engine for name, (engine, _, _) in found.items()},
        requests=dict(count_requests(bench.environ, images, _LATENCY_MS, _WORKERS)),
    )


def _load() -> str:
    """Return the load of the last quarter of an hour: more than the measurement itself means that others ran."""
    return f"load {os.getloadavg()[2]:.0f}"


@click.command()
@click.option(
    "--docs", type=click.Path(exists=True, file_okay=False, path_type=Path), default="docs", show_default=True
)
@click.option("--measure", "measured", is_flag=True, help=f"measure again, and write {RECORD}")
@click.option("--images", default=10_000, help="images of the bucket whose requests are counted")
@click.pass_obj
def command(bench: Bench, docs: Path, measured: bool, images: int) -> Iterator[str]:
    """Write docs/costs.md: dollars for a million photos by path and instance type."""
    telemetry.configure("bench", level="warning")
    if measured:
        measure(bench, images).write(docs / RECORD)
        yield f"wrote {docs / RECORD}"
    figures = Figures.read(docs / RECORD)
    (docs / PAGE).write_text(cost_page.page(figures, cost_model.load()), encoding="utf-8")
    yield f"wrote {docs / PAGE}, from the figures of {figures.machine}"
