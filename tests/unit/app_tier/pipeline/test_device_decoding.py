"""JPEGs pass the decode stage as files where the tagger's device decodes; the rest, and what it refuses, as frames."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app_tier.engines import Engines
from app_tier.engines.device_jpegs import DeviceJpegs
from app_tier.engines.devices import CpuDevice
from app_tier.engines.torch import TorchEngine
from app_tier.models.networks import Network
from app_tier.pipeline.pipeline import Pipeline, PipelineOptions, PipelinePorts
from app_tier.taggers.imagenet import ImageNetTagger
from config.settings import Settings
from core.domain.messages import Job, Result, TagOptions
from core.wiring import Backend
from tests.fake_gpu import FakeGpu, Means
from tests.pictures import saved, spotted

Submit = Callable[..., Job]
Collect = Callable[[int], dict[str, Result]]
NETWORK = Network(
    name="colours",
    architecture="timm/none",
    labels=("red", "green", "blue"),
    resize=32,
    crop=28,
    interpolation="bilinear",
    mean=(0, 0, 0),
    std=(1, 1, 1),
    bf16=True,
)


@pytest.fixture
def gpu() -> FakeGpu:
    return FakeGpu(at_once=8)


@pytest.fixture
def tagger(gpu: FakeGpu) -> ImageNetTagger:
    """A classifier of colours on the fake GPU, whose near-ties are settled by a processor."""
    engine = TorchEngine(Means(), NETWORK.crop, 3, gpu, DeviceJpegs(gpu, NETWORK))  # type: ignore[arg-type]
    exact = TorchEngine(Means(), NETWORK.crop, 3, CpuDevice())  # type: ignore[arg-type]
    return ImageNetTagger(NETWORK, "0" * 64, Engines(engine, lambda: exact, near_tie=20.0), TagOptions(top_k=1))


@pytest.fixture
def pipeline(backend: Backend, settings: Settings, tagger: ImageNetTagger, tmp_path: Path) -> Iterator[Pipeline]:
    ports = PipelinePorts(backend.jobs("resnet50"), backend.results, backend.store, backend.originals)
    options = PipelineOptions(
        settings.worker, "w1", settings.queue.visibility_timeout_s, crash_folder=tmp_path / "in-hand"
    )
    made = Pipeline(tagger, ports, options)
    yield made
    made.draining.set()
    assert made.wait_until_drained(120)
    made.close()
    assert made.failure is None


def jpeg(colour: str, width: int = 200, **options: object) -> bytes:
    return saved(spotted(colour, (width, 140)), "JPEG", **options)


def test_every_image_gets_its_own_tags_wherever_it_is_decoded(
    pipeline: Pipeline, submit: Submit, collect: Collect, gpu: FakeGpu
) -> None:
    expected, refused = {}, {jpeg(colour, 210) for colour in ("red", "lime", "blue")}
    gpu.refuses = lambda data: data in refused
    for colour in ("red", "lime", "blue") * 4:
        name = {"lime": "green"}.get(colour, colour)
        for data in (
            jpeg(colour),
            jpeg(colour, 210),
            jpeg(colour, progressive=True),
            saved(spotted(colour, (200, 140)), "PNG"),
        ):
            expected[submit(data).image_id] = name
    pipeline.start()
    results = collect(len(expected))
    assert {id: result.tags[0].name for id, result in results.items()} == expected
    assert {result.width for result in results.values()} == {200, 210}
    assert sum(gpu.decoded) >= 24, "those that it takes, and tries at the others"
    assert all(result.timings_ms.decode is not None for result in results.values())


def test_what_the_device_refuses_gets_our_decoders_sentence(
    pipeline: Pipeline, submit: Submit, collect: Collect, gpu: FakeGpu
) -> None:
    gpu.refuses = lambda data: True
    blank = submit(saved(Image.new("RGB", (200, 140), "red"), "JPEG"), "blank.jpg")
    good = submit(jpeg("red"))
    pipeline.start()
    results = collect(2)
    assert results[blank.image_id].error == "blank.jpg: nothing to tag: every pixel has the same colour"
    assert results[good.image_id].ok


def test_from_its_second_delivery_the_devices_decoder_does_not_see_an_image(
    pipeline: Pipeline, submit: Submit, collect: Collect, gpu: FakeGpu, settings: Settings
) -> None:
    """If it crashed the device's decoder, it gets its tags all the same."""
    submit(jpeg("red"), receives=settings.worker.isolate_receive)
    pipeline.start()
    (result,) = collect(1).values()
    assert result.ok
    assert not gpu.decoded


def test_an_image_on_which_the_devices_decoder_crashed_is_tagged_alone_without_it(
    pipeline: Pipeline, submit: Submit, collect: Collect, gpu: FakeGpu, tmp_path: Path
) -> None:
    """A dead process left its crash record. Another image goes the usual way."""
    suspects = [submit(jpeg("red")).image_id, submit(jpeg("blue")).image_id]
    other = submit(jpeg("lime", 210))
    record = b"".join(f"t{id}".encode().ljust(128, b"\0") for id in suspects)
    folder = tmp_path / "in-hand"
    folder.mkdir(exist_ok=True)
    (folder / "w0-1.in-hand").write_bytes(record)
    seen: list[bytes] = []
    gpu.refuses = lambda data: bool(seen.append(data))
    pipeline.start()
    results = collect(3)
    assert [results[id].tags[0].name for id in (*suspects, other.image_id)] == ["red", "blue", "green"]
    assert set(seen) == {jpeg("lime", 210)}


def test_near_ties_on_the_device_are_computed_again(tagger: ImageNetTagger, gpu: FakeGpu) -> None:
    tie = np.full((28, 28, 3), 100, np.uint8)
    tie[:, :, 1] = 105
    clear = np.full((28, 28, 3), (0, 0, 255), np.uint8)
    gpu.pause()
    pending = tagger.submit([clear, tie], [TagOptions()] * 2)
    gpu.go_on()
    assert [prediction.tags[0].name for prediction in pending.result()] == ["blue", "green"]
    assert tagger.most_at_once == 8
