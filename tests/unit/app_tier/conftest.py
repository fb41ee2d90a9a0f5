"""A real local backend, a tagger without a network, and generated images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from app_tier.engines import Pixels
from app_tier.pipeline.pipeline import Pipeline, PipelineOptions, PipelinePorts
from app_tier.taggers import Frame, Prediction
from config.settings import Settings
from core.domain.ids import new_id
from core.domain.messages import Job, Result, Tag, TagOptions, decode_output, encode
from core.storage import layout
from core.wiring import Backend
from tests.pictures import spotted


class ColourTagger:
    """Names the strongest channel of an image: enough to see that each result belongs to its image."""

    name = "colour"
    version = "colour@1"
    labels: Sequence[str] = ("red", "green", "blue")
    engine_name = "numpy"
    side = 8
    shape = (8, 8, 3)
    most_at_once: int | None = None
    best_batch = 8

    def __init__(self) -> None:
        self.batches: list[int] = []

    def preprocess(self, image: Image.Image) -> Frame:
        return np.asarray(image.resize((8, 8)))

    def infer(self, frames: Pixels, options: Sequence[TagOptions]) -> list[Prediction]:
        self.batches.append(len(frames))
        means = frames.reshape(len(frames), -1, 3).mean(axis=1)
        return [
            Prediction((Tag(name=self.labels[int(row.argmax())], confidence=float(row.max()) / 255),)) for row in means
        ]


def picture(colour: str = "red", size: tuple[int, int] = (32, 24), format: str = "PNG", **options: object) -> bytes:
    stream = BytesIO()
    spotted(colour, size).save(stream, format, **options)
    return stream.getvalue()


@pytest.fixture(name="picture")
def _picture() -> Callable[..., bytes]:
    return picture


@pytest.fixture
def backend(settings: Settings) -> Backend:
    return Backend(settings)


@pytest.fixture
def tagger() -> ColourTagger:
    return ColourTagger()


@pytest.fixture
def submit(backend: Backend) -> Callable[..., Job]:
    """Store an upload and send its job, as the web tier does."""

    def submit(data: bytes | None, name: str = "a.png", receives: int = 0, **fields: Any) -> Job:
        image_id = new_id("img")
        key = layout.image_key("bat_1", image_id)
        if data is not None:
            backend.store.put(key, data)
        job = Job(
            **{"batch_id": "bat_1"} | fields,
            image_id=image_id,
            key=key,
            name=name,
            tagger="colour",
            submitted_at=time.time(),
        )
        queue = backend.jobs("resnet50")
        queue.send([encode(job)])
        for _ in range(receives):  # deliveries to workers that did not finish it
            queue.set_visibility(queue.receive(1, 0), 0)
        return job

    return submit


@pytest.fixture
def pipeline(backend: Backend, settings: Settings, tagger: ColourTagger) -> Iterator[Pipeline]:
    pipeline = make_pipeline(backend, settings, tagger)
    yield pipeline
    pipeline.draining.set()
    assert pipeline.wait_until_drained(120)
    pipeline.close()


def make_pipeline(backend: Backend, settings: Settings, tagger: ColourTagger) -> Pipeline:
    ports = PipelinePorts(backend.jobs("resnet50"), backend.results, backend.store, backend.originals)
    options = PipelineOptions(settings.worker, "w1", settings.queue.visibility_timeout_s)
    return Pipeline(tagger, ports, options)


@pytest.fixture
def collect(backend: Backend) -> Callable[[int], dict[str, Result]]:
    """Wait for so many results on the output queue; by image id, each once."""

    def collect(count: int) -> dict[str, Result]:
        found: dict[str, Result] = {}
        until = time.monotonic() + 120
        while len(found) < count:
            assert time.monotonic() < until, f"{len(found)} of {count} results came"
            deliveries = backend.results.receive(100, 1.0)
            for delivery in deliveries:
                result = decode_output(delivery.body).result
                assert result is not None
                assert result.image_id not in found
                found[result.image_id] = result
            backend.results.delete(deliveries)
        return found

    return collect
