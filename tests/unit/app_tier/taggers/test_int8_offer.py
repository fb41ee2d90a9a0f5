"""`prepare` offers to measure int8 where it may pay, and says nothing elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from app_tier.engines import int8
from app_tier.taggers import int8_offer
from app_tier.taggers.int8_offer import find_offer
from config import settings as config
from config.settings import PoolSettings, Settings
from core.storage import layout
from core.storage.models import sha256_of
from core.wiring import Backend
from tests import tiny_classifier as tiny

POOL = PoolSettings(tagger=tiny.NAME)
FIGURES = int8.Int8Figures(
    calibrated_on=200,
    photos=400,
    labelled=0,
    agreement={"int8 settled": 0.5},
    near_tie=0.1,
    settled=0.1,
    images_per_s={},
)


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setattr(int8_offer, "ENOUGH_PHOTOS", 3)
    tiny.write_weights(tmp_path / "weights" / tiny.FILE)
    return config.load({}, flags={"home": str(tmp_path), "worker.engine": "openvino"})


def upload(backend: Backend, count: int) -> None:
    for number in range(count):
        backend.store.put(layout.image_key("bat", str(number)), b"a photo")


def test_it_is_offered_with_enough_photos(settings: Settings) -> None:
    backend = Backend(settings)
    upload(backend, 2)
    assert not find_offer(POOL, settings, backend.store)
    upload(backend, 3)
    offer = find_offer(POOL, settings, backend.store)
    assert f"`tagfleet models quantise {tiny.NAME} --from-store`" in offer


@pytest.mark.parametrize(("setting", "value"), [("precision", "fp32"), ("precision", "int8"), ("engine", "torch")])
def test_nothing_is_offered_where_the_settings_chose(settings: Settings, setting: str, value: str) -> None:
    backend = Backend(settings)
    upload(backend, 3)
    chosen = settings.model_copy(update={"worker": settings.worker.model_copy(update={setting: value})})
    assert not find_offer(POOL, chosen, backend.store)


def test_taggers_without_one_right_label_are_left_alone(settings: Settings) -> None:
    backend = Backend(settings)
    upload(backend, 3)
    assert not find_offer(PoolSettings(tagger="adaptive"), settings, backend.store)


def test_a_refused_form_is_not_offered_again(settings: Settings, tmp_path: Path) -> None:
    backend = Backend(settings)
    upload(backend, 3)
    network, weights = int8_offer.locate(int8_offer.ModelRequest(tiny.NAME, POOL, settings, backend.store))
    assert weights.sha256 == sha256_of(tmp_path / "weights" / tiny.FILE)
    int8.refuse(FIGURES, network, weights.sha256, backend.store)
    assert not find_offer(POOL, settings, backend.store)
