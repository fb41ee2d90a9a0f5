"""Taggers on a fake GPU: their own tags, near-ties settled, and a refusal where CUDA does not compute."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from app_tier.engines import gpu_choice
from app_tier.engines import torch as torch_engine
from app_tier.engines.precision import BF16, FP16, Precision
from app_tier.models.request import ModelRequest
from app_tier.taggers import classifiers
from app_tier.taggers.classifiers import choose_engine
from app_tier.worker import selection
from app_tier.worker.prepare import prepare
from config.settings import PoolSettings, Settings
from core.domain.messages import TagOptions
from core.errors import GpuUnusable
from core.imaging.decode import DecodeBudget, Decoder
from core.imaging.plain_jpeg import read_plain_jpeg
from core.wiring import Backend
from tests.fake_gpu import FakeGpu

LITE = PoolSettings(tagger="efficientnet-lite0")
without_gpu = pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")


def on(settings: Settings, **worker: str) -> Settings:
    return settings.model_copy(update={"worker": settings.worker.model_copy(update=worker)})


@without_gpu
def test_a_worker_that_must_have_a_gpu_refuses_to_start_without(settings: Settings) -> None:
    wanting = on(settings, device="cuda")
    with pytest.raises(GpuUnusable, match=r"a GPU is expected here and CUDA does not work: .*; look at nvidia-smi"):
        selection.choose(LITE, wanting, Backend(settings).store).load()


@without_gpu
def test_a_bake_for_gpus_fails_without_one(settings: Settings) -> None:
    """`install.sh --gpu` runs this with the setting, and ends if it fails."""
    wanting = on(settings, device="cuda").model_copy(update={"pools": {"small": LITE}})
    status = prepare("small", wanting, Backend(wanting), lambda: 5.0, lambda *_: None)
    assert status.state == "failed"
    assert status.notice.startswith("No photo can be tagged by small: a GPU is expected here")


def test_the_engine_follows_the_device(settings: Settings) -> None:
    assert choose_engine(on(settings, device="cuda")) == "torch"
    assert choose_engine(on(settings, device="cpu")) == "openvino"
    assert choose_engine(on(settings, device="cpu", engine="torch")) == "torch"
    assert choose_engine(settings) == ("torch" if gpu_choice.DRIVER_FILE.exists() else "openvino")


@pytest.mark.timeout(600)
@pytest.mark.parametrize("precision", [FP16, BF16])
def test_photos_get_fp32s_top_label_also_when_the_device_decodes(
    settings: Settings, data: Path, precision: Precision
) -> None:
    """docs/taggers.md states it. Eight photos: here a processor computes, slowly."""
    with_weights = settings.model_copy(update={"weights": str(data / "weights")})
    pool, store = settings.pools["resnet50"], Backend(with_weights).store
    network, found = classifiers.locate(ModelRequest("resnet50", pool, with_weights, store))
    gpu = FakeGpu(precision, at_once=8)
    gpu.captures = False
    fast, exact = torch_engine.load_with_exact(network, found.path, gpu, gpu.exact())
    margin = 0.08 * precision.near_ties
    tagger = classifiers.ImageNetTagger(
        network, found.sha256, classifiers.Engines(fast, lambda: exact, margin), TagOptions()
    )
    contents = [file.read_bytes() for file in sorted((data / "coco" / "images").glob("*.jpg"))[:20]]
    plain = [(content, jpeg) for content in contents if (jpeg := read_plain_jpeg(content))][:8]
    frames = tagger.decode([jpeg for _, jpeg in plain])
    assert None not in frames
    asked = TagOptions(top_k=1, min_confidence=0.0)
    said: list[str] = []
    for start in range(0, len(plain), 8):
        batch = [frame for frame in frames[start : start + 8] if frame is not None]
        said += [one.tags[0].name for one in tagger.submit(batch, [asked] * len(batch)).result()]
    decoder = Decoder(network.resize, DecodeBudget(600))
    by_pillow = np.stack([tagger.preprocess(decoder.decode(content)) for content, _ in plain])
    assert said == [network.label_names[index] for index in exact.infer(by_pillow).argmax(1)]
