"""The int8 form of a tagger: made, measured, offered or refused, and used by workers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from app_tier.engines import int8
from app_tier.engines.int8 import MIN_LABELLED, Int8Figures
from app_tier.model_tools import quantisation
from app_tier.taggers import Tagger
from app_tier.worker import selection
from config import labels
from config import settings as config
from config.settings import PoolSettings, Settings
from core.domain.messages import TagOptions
from core.errors import WeightsInvalid
from core.storage import layout
from core.storage.models import sha256_of
from core.wiring import Backend
from tagfleet.cli import cli
from tests import tiny_classifier as tiny

LABELS = labels.load("imagenet1k")[: len(tiny.COLOURS)]
POOL = PoolSettings(tagger=tiny.NAME)


def figures(**changed: object) -> Int8Figures:
    measured = {
        "calibrated_on": 100,
        "photos": 1000,
        "labelled": 1000,
        "top1": {"fp32": 0.764, "int8": 0.765},
        "agreement": {"int8": 0.95, "int8 settled": 0.98},
        "near_tie": 0.2,
        "settled": 0.1,
        "images_per_s": {"fp32": 22.0, "int8": 163.0},
    }
    return Int8Figures.model_validate(measured | changed)


def test_the_rule() -> None:
    assert figures().offered
    assert figures(top1={"fp32": 0.764, "int8": 0.759}).offered, "half a point is allowed"
    lost = figures(top1={"fp32": 0.764, "int8": 0.758})
    assert (lost.offered, lost.refusals) == (
        False,
        ("it loses 0.6 points of top-1 on 1000 photos, at most 0.5 allowed",),
    )
    apart = figures(agreement={"int8": 0.939, "int8 settled": 1.0})
    assert (apart.offered, len(apart.refusals)) == (False, 1)
    unseen = figures(labelled=MIN_LABELLED - 1)
    assert (unseen.offered, unseen.refusals) == (False, ()), "nothing speaks against it, and nothing for it"
    assert not figures(labelled=0, top1={}).refusals


outputs = st.lists(st.tuples(st.booleans(), st.integers(0, 50)), min_size=1, max_size=200)


@given(outputs)
def test_the_margin_reaches_the_target_or_the_most_that_may_be_settled(found: list[tuple[bool, int]]) -> None:
    same = np.array([agrees for agrees, _ in found])
    near = np.array([margin / 10 for _, margin in found], dtype=np.float32)
    chosen = quantisation.settling_margin(same, near)
    settled = near < chosen
    assert settled.mean() <= quantisation.MOST_SETTLED
    reached = (same | settled).mean() >= quantisation.TARGET_AGREEMENT
    next_one = np.sort(near)[settled.sum() :]
    assert reached or (near <= next_one[0]).mean() > quantisation.MOST_SETTLED
    if chosen == 0:
        return
    assert not reached or (same | (near < near[settled].max(initial=0))).mean() < quantisation.TARGET_AGREEMENT


def quantise(home: Path, *arguments: str) -> Result:
    command = ["models", "quantise", tiny.NAME, "--home", str(home), "--cache", str(home / "cache"), *arguments]
    return CliRunner().invoke(cli, command, env={"TAGFLEET_WORKER__THREADS": "1"})


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    tiny.write_photos(folder / "calibration", 12, seed=1)
    tiny.write_photos(folder / "labelled", MIN_LABELLED, seed=2, names=LABELS)
    return folder


@pytest.fixture(scope="module")
def offered(tmp_path_factory: pytest.TempPathFactory, photos: Path) -> tuple[Path, Result]:
    home = tmp_path_factory.mktemp("offered")
    tiny.write_weights(home / "weights" / tiny.FILE)
    done = quantise(home, "--calibration", str(photos / "calibration"), "--labelled", str(photos / "labelled"))
    return home, done


def deployment(home: Path, tmp_path: Path, **worker: object) -> Settings:
    """Copy a deployment with its own cache, as on a new machine that has the converted engines."""
    shutil.copytree(home, tmp_path / "home")
    for made in (tmp_path / "home" / "cache" / "engines").glob("*-int8-*"):
        shutil.rmtree(made)
    flags = {"home": str(tmp_path / "home"), "cache": str(tmp_path / "home" / "cache"), "worker.threads": 1}
    return config.load({}, flags=flags | {f"worker.{name}": value for name, value in worker.items()})


def served(settings: Settings) -> Tagger:
    return selection.choose(POOL, settings, Backend(settings).store).load()


def test_an_offered_form_is_run_by_workers(offered: tuple[Path, Result], tmp_path: Path) -> None:
    home, done = offered
    assert done.exit_code == 0, done.output
    assert "offered: workers of timm/test_resnet" in done.output
    tagger = served(deployment(home, tmp_path))
    assert tagger.engine_name == "openvino int8"
    for label, picture in tiny.pictures(8, seed=5):
        (said,) = tagger.infer(tagger.preprocess(picture)[None], [TagOptions(top_k=1)])
        assert [tag.name for tag in said.tags] == [LABELS[label]]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_settings_may_choose_another_precision(
    offered: tuple[Path, Result], tmp_path: Path, precision: str
) -> None:
    settings = deployment(offered[0], tmp_path, precision=precision)
    assert served(settings).engine_name in {f"openvino {precision}", "openvino fp32"}


def test_other_weights_of_the_same_name_have_no_int8_form(offered: tuple[Path, Result], tmp_path: Path) -> None:
    settings = deployment(offered[0], tmp_path)
    network, weights = quantisation.find_model(tiny.NAME, settings, store := Backend(settings).store)
    assert int8.fetch(network, weights.sha256, store, settings.cache)
    assert int8.fetch(network, "0" * 64, store, settings.cache) is None


@pytest.mark.parametrize("name", ["model.bin", "golden.npy", "figures.json"])
def test_a_damaged_form_stops_only_workers_that_require_int8(
    offered: tuple[Path, Result], tmp_path: Path, name: str
) -> None:
    settings = deployment(offered[0], tmp_path, precision="int8")
    store = Backend(settings).store
    (key,) = [info.key for info in store.list("models/") if info.key.endswith(name)]
    store.put(key, store.get(key).data[:-9])
    with pytest.raises(WeightsInvalid, match=rf"{name} in the store is damaged: make it again, `tagfleet models quant"):
        served(settings)
    easy = settings.model_copy(update={"worker": settings.worker.model_copy(update={"precision": "auto"})})
    assert served(easy).engine_name in {"openvino bf16", "openvino fp32"}
    assert not list((settings.cache / "engines").glob("*-int8-*"))


def test_a_refused_form_shows_its_figures_and_is_not_kept(tmp_path: Path, photos: Path) -> None:
    weights = tiny.write_weights(tmp_path / "weights" / tiny.FILE, clear=False)
    store = Backend(config.load({}, flags={"home": str(tmp_path)})).store
    earlier = layout.int8_prefix("timm-test_resnet", sha256_of(weights)) + "figures.json"
    store.put(earlier, figures().model_dump_json().encode())
    done = quantise(tmp_path, "--calibration", str(photos / "calibration"), "--labelled", str(photos / "labelled"))
    assert done.exit_code == 1
    assert "int8 of timm/test_resnet is refused: " in done.output
    assert "its top label is fp32's on" in done.output
    assert not list(store.list("models/")), "nor what was offered before"


def test_without_labels_a_form_is_kept_and_not_offered(tmp_path: Path) -> None:
    tiny.write_weights(tmp_path / "weights" / tiny.FILE)
    folder = tiny.write_photos(tmp_path / "photos", 9, seed=1)
    (folder / "notes.txt").write_text("no photo")
    shutil.copy(folder / "2.png", folder / "again.png")  # 2.png is measured on, so neither may calibrate
    done = quantise(tmp_path, "--calibration", str(folder))
    assert done.exit_code == 0, done.output
    assert "notes.txt was skipped: " in done.output
    assert "calibrated on 6 photos, measured on 3, 0 with labels" in done.output
    assert "not offered: 0 photos have labels, and at least 200 are needed" in done.output
    flags = {"home": str(tmp_path), "cache": str(tmp_path / "cache"), "worker.threads": 1}
    assert served(config.load({}, flags=flags)).engine_name == "openvino fp32"
    assert served(config.load({}, flags=flags | {"worker.precision": "int8"})).engine_name == "openvino int8"


def test_unknown_labels_are_refused(tmp_path: Path, photos: Path) -> None:
    tiny.write_weights(tmp_path / "weights" / tiny.FILE)
    tiny.write_photos(tmp_path / "wrong", 8, seed=1, names=("Tench", "n01443537", "nothing known", "Hen"))
    done = quantise(tmp_path, "--calibration", str(photos / "calibration"), "--labelled", str(tmp_path / "wrong"))
    assert str(done.exception).endswith("wrong: the tagger has no label nothing known")


def test_the_stored_figures_are_readable_json(offered: tuple[Path, Result]) -> None:
    (file,) = offered[0].rglob("figures.json")
    said = json.loads(file.read_text())
    assert (said["labelled"], said["calibrated_on"], said["top1"]["int8"]) == (MIN_LABELLED, 12, 1.0)
    assert set(said["sha256"]) == {"model.xml", "model.bin", "golden.npy"}
