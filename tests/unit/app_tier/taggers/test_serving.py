"""Weights that are found or missing, kept engines, the golden check, and right tags by real weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from app_tier.engines import golden, modules
from app_tier.engines import openvino as openvino_engine
from app_tier.models.request import ModelRequest
from app_tier.taggers import classifiers
from app_tier.taggers.imagenet import ImageNetTagger
from app_tier.worker import selection
from app_tier.worker.prepare import prepare
from config.settings import PoolSettings, Settings
from core.domain.messages import TagOptions
from core.errors import WeightsInvalid, WeightsMissing
from core.imaging.decode import DecodeBudget, Decoder
from core.wiring import Backend

LITE = PoolSettings(tagger="efficientnet-lite0")


@pytest.fixture
def cached(settings: Settings, engine_cache: Path) -> Settings:
    return settings.model_copy(update={"cache": engine_cache})


def test_without_weights_the_fallback_serves_and_says_so(cached: Settings, backend: Backend) -> None:
    pool = PoolSettings(tagger="resnet50", fallback="efficientnet-lite0")
    choice = selection.choose(pool, cached, backend.store)
    assert choice.name == "efficientnet-lite0"
    assert choice.notice.startswith("Photos are tagged by efficientnet-lite0: the weights of resnet50")
    with pytest.raises(WeightsMissing):
        selection.choose(PoolSettings(tagger="resnet50"), cached, backend.store)


def test_prepare_converts_the_engine_and_writes_the_pools_status(cached: Settings) -> None:
    settings = cached.model_copy(update={"pools": {"small": LITE}})
    backend = Backend(settings)
    status = prepare("small", settings, backend, lambda: 5.0, lambda *_: None)
    assert (status.state, status.serves, status.notice) == ("ready", "efficientnet-lite0@57934424", "")
    assert backend.roster.pools() == [status]


def test_prepare_reports_weights_that_do_not_fit(cached: Settings, backend: Backend, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.safetensors"
    wrong.write_bytes(b"no weights at all")
    pool = PoolSettings(tagger="efficientnet-lite0", weights=str(wrong))
    settings = cached.model_copy(update={"pools": {"p": pool}})
    status = prepare("p", settings, backend, lambda: 5.0, lambda *_: None)
    assert status.state == "failed"
    assert "wrong.safetensors cannot be read as weights" in status.notice
    assert not list(cached.cache.glob("engines/.making-*"))


def test_the_golden_check_notices_another_network(cached: Settings, backend: Backend) -> None:
    network, found = classifiers.locate(ModelRequest(LITE.tagger, LITE, cached, backend.store))
    kept = openvino_engine.convert_once(network, found.path, found.sha256, cached.cache)
    engine = openvino_engine.OpenVinoEngine(kept, 2, bf16=False)
    with pytest.raises(WeightsInvalid, match="does not reproduce the reference"):
        golden.check(engine, 224, np.linspace(-1, 1, 1000, dtype=np.float32))


def test_engines_take_any_batch_and_agree_with_the_reference(cached: Settings, backend: Backend) -> None:
    import torch

    network, found = classifiers.locate(ModelRequest(LITE.tagger, LITE, cached, backend.store))
    fast = openvino_engine.OpenVinoEngine(
        openvino_engine.convert_once(network, found.path, found.sha256, cached.cache), 2, bf16=False
    )
    reference = modules.build(network, found.path)
    noise = np.random.default_rng(1).integers(0, 256, (3, 224, 224, 3), dtype=np.uint8)
    for count in (1, 3, 2):
        outputs = fast.infer(noise[:count])
        with torch.inference_mode():
            expected = reference(torch.from_numpy(noise[:count])).numpy()
        assert outputs.shape == (count, 1000)
        np.testing.assert_allclose(outputs, expected, atol=2e-3)


EXPECTED = {
    "cat_720p.jpg": {"Egyptian Cat", "Tabby", "Tiger Cat"},
    "hot_dog.jpg": {"Hotdog"},
    "owl.jpg": {"Great Grey Owl", "Kite"},
    "parrot.jpg": {"Macaw"},
    "pets.jpg": {"Italian Greyhound", "American Staffordshire Terrier", "Whippet"},
}


@pytest.fixture
def real(cached: Settings, data: Path) -> tuple[Settings, ImageNetTagger]:
    settings = cached.model_copy(update={"weights": str(data / "weights")})
    pool = settings.pools["resnet50"]
    choice = selection.choose(pool, settings, Backend(settings).store)
    assert choice.name == "resnet50"
    return settings, choice.load()


def test_photos_get_the_tags_a_person_would_expect(real: tuple[Settings, ImageNetTagger], data: Path) -> None:
    _, tagger = real
    decoder = Decoder(tagger.side, DecodeBudget(600))
    for name, expected in EXPECTED.items():
        frame = tagger.preprocess(decoder.decode((data / "photos" / name).read_bytes()))
        (said,) = tagger.infer(frame[None], [TagOptions(top_k=1)])
        assert said.tags[0].name in expected, name


@pytest.mark.timeout(600)  # beside other work on two cores its threads wait for each other
def test_the_top_label_equals_fp32s_on_98_percent(real: tuple[Settings, ImageNetTagger], data: Path) -> None:
    import torch

    settings, tagger = real
    pool = settings.pools["resnet50"]
    network, weighed = classifiers.locate(ModelRequest("resnet50", pool, settings, Backend(settings).store))
    decoder = Decoder(tagger.side, DecodeBudget(600))
    files = sorted([*(data / "photos").glob("*.jpg"), *(data / "coco" / "images").glob("*.jpg")])
    frames = np.stack([tagger.preprocess(decoder.decode(file.read_bytes())) for file in files])
    with torch.inference_mode():
        reference = modules.build(network, weighed.path)(torch.from_numpy(frames)).numpy()
    expected = [tagger.labels[index] for index in reference.argmax(axis=1)]
    options = [TagOptions(top_k=1, min_confidence=0.0)] * 8
    found: list[str] = []
    for start in range(0, len(frames), 8):
        batch = frames[start : start + 8]
        found += [said.tags[0].name for said in tagger.infer(batch, options[: len(batch)])]
    agreement = np.mean([one == other for one, other in zip(found, expected, strict=True)])
    assert agreement >= 0.98


def test_a_kept_engine_needs_no_torch(cached: Settings, backend: Backend) -> None:
    """A worker's start must not import torch, which takes seconds."""
    import subprocess
    import sys

    network, found = classifiers.locate(ModelRequest(LITE.tagger, LITE, cached, backend.store))
    openvino_engine.convert_once(network, found.path, found.sha256, cached.cache)
    script = (
        "import sys, os; from config.settings import load, PoolSettings; from core.wiring import Backend;"
        "from app_tier.worker import selection, worker; s = load(os.environ);"
        "p = PoolSettings(tagger='efficientnet-lite0');"
        "selection.choose(p, s, Backend(s).store).load();"
        "print(sorted({'torch', 'torchvision', 'timm', 'flask', 'sqlalchemy'} & set(sys.modules)))"
    )
    environment = {"TAGFLEET_HOME": str(cached.home), "TAGFLEET_CACHE": str(cached.cache), "PATH": ""}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
