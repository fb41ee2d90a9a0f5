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
from app_tier.engines.settling import margins
from app_tier.model_tools import quantisation
from app_tier.taggers import Tagger, int8_offer
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
        "calibrated_on": 200,
        "photos": 800,
        "labelled": 800,
        "top1": {"fp32": 0.765, "int8": 0.759, "int8 settled": 0.7625},
        "lost": 6,
        "won": 4,
        "agreement": {"int8": 0.95, "int8 settled": 0.98},
        "near_tie": 0.2,
        "settled": 0.095,
        "images_per_s": {"fp32": 22.0, "int8": 92.6, "int8 settled": 66.0},
    }
    return Int8Figures.model_validate(measured | changed)


def settled(agreement: float) -> dict[str, float]:
    return {"int8": 0.9, "int8 settled": agreement}


def test_a_loss_within_chance_is_offered() -> None:
    assert (figures().offered, figures().refusals) == (True, ())
    assert figures(lost=13, won=5, agreement=settled(0.97)).refusals, "2.4 % of fair coins"
    assert figures(lost=11, won=5, agreement=settled(0.97)).offered, "7.2 % of fair coins"


def test_a_loss_beyond_chance_is_refused_with_its_figures() -> None:
    lost = figures(lost=30, won=11, top1={"fp32": 0.765, "int8": 0.74, "int8 settled": 0.74125})
    assert not lost.offered
    assert lost.refusals == (
        "of 800 labelled photos it labels 74.12% correctly, and fp32 76.50%: 30 became wrong and 11 right, which "
        "chance alone does in 0.1% of measurements",
    )


def test_without_labels_agreement_decides_and_chance_counts_against_the_form() -> None:
    unlabelled = {"labelled": 0, "top1": {}, "lost": 0, "won": 0}
    assert figures(**unlabelled).offered
    few = figures(**unlabelled, photos=60)
    assert (few.offered, few.refusals) == (False, ())
    assert few.why_not == (
        "its top label is fp32's on 98.0% of only 60 photos, which may by chance stand for 92.9%, and 95% are "
        "required: measure it on more photos, or on 200 with labels"
    )
    apart = figures(**unlabelled, agreement=settled(0.91))
    assert apart.refusals == (
        "its top label is fp32's on 91.0% of 800 photos, by chance 92.5% at most, and 95% are required",
    )


def test_few_labels_do_not_decide() -> None:
    few = figures(labelled=MIN_LABELLED - 1, photos=MIN_LABELLED - 1, agreement=settled(0.96))
    assert (few.offered, few.refusals) == (False, ())


def test_figures_of_earlier_versions_are_read_and_ask_for_a_new_measurement() -> None:
    written = json.loads(figures().model_dump_json(exclude={"lost", "won", "speedup"}))
    earlier = Int8Figures.model_validate(written)
    assert (earlier.offered, earlier.refusals) == (False, ())
    assert "has to be made again" in earlier.why_not


def test_the_margin_is_where_rounding_swaps_one_in_four() -> None:
    random = np.random.default_rng(1)
    fp32 = random.normal(0, 3, (4000, 20)).astype(np.float32)
    int8_outputs = fp32 + random.normal(0, 0.2, fp32.shape).astype(np.float32)
    chosen = quantisation.choose_near_tie(int8_outputs, fp32)
    assert chosen == pytest.approx(0.6745 * 0.2 * 2**0.5, rel=0.1)
    near = margins(int8_outputs)
    swapped = int8_outputs.argmax(axis=1) != fp32.argmax(axis=1)
    around = abs(near - chosen) < 0.05
    assert swapped[around].mean() == pytest.approx(quantisation.FLIP_CHANCE, abs=0.08)


@given(st.integers(1, 200), st.integers(0, 2**32 - 1), st.floats(0, 10))
def test_few_photos_are_near_ties(photos: int, seed: int, noise: float) -> None:
    random = np.random.default_rng(seed)
    fp32 = random.normal(0, 1, (photos, 5)).astype(np.float32)
    int8_outputs = fp32 + random.normal(0, noise, fp32.shape).astype(np.float32)
    chosen = quantisation.choose_near_tie(int8_outputs, fp32)
    assert (margins(int8_outputs) < chosen).mean() <= quantisation.MOST_SETTLED


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
    assert tagger.engine_name == "openvino int8, near-ties in fp32", "timm's networks are not known to suit bf16"
    for label, picture in tiny.pictures(8, seed=5):
        (said,) = tagger.infer(tagger.preprocess(picture)[None], [TagOptions(top_k=1)])
        assert [tag.name for tag in said.tags] == [LABELS[label]]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_settings_may_choose_another_precision(
    offered: tuple[Path, Result], tmp_path: Path, precision: str
) -> None:
    settings = deployment(offered[0], tmp_path, precision=precision)
    assert served(settings).engine_name in {"openvino bf16, near-ties in fp32", "openvino fp32"}


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
    assert served(easy).engine_name == "openvino fp32"
    assert not list((settings.cache / "engines").glob("*-int8-*"))


def test_a_refused_form_shows_its_figures_and_only_they_are_kept(
    tmp_path: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "MIN_AGREEMENT", 1.01)
    weights = tiny.write_weights(tmp_path / "weights" / tiny.FILE)
    store = Backend(config.load({}, flags={"home": str(tmp_path)})).store
    prefix = layout.int8_prefix("timm-test_resnet", sha256_of(weights))
    store.put(prefix + "figures.json", figures().model_dump_json().encode())
    done = quantise(tmp_path, "--calibration", str(photos / "calibration"), "--labelled", str(photos / "labelled"))
    assert done.exit_code == 1
    assert "int8 of timm/test_resnet is refused: " in done.output
    assert "its top label is fp32's on" in done.output
    assert [info.key for info in store.list("models/")] == [prefix + "refused.json"], "nor what was offered before"


def test_without_labels_a_form_of_few_photos_is_kept_and_not_offered(tmp_path: Path) -> None:
    tiny.write_weights(tmp_path / "weights" / tiny.FILE)
    folder = tiny.write_photos(tmp_path / "photos", 9, seed=1)
    (folder / "notes.txt").write_text("no photo")
    shutil.copy(folder / "1.png", folder / "again.png")  # 1.png is measured on, so neither may calibrate
    done = quantise(tmp_path, "--calibration", str(folder))
    assert done.exit_code == 0, done.output
    assert "notes.txt was skipped: " in done.output
    assert "calibrated on 3 photos, measured on 6, 0 with labels" in done.output
    assert "not offered, but kept for workers with worker.precision" in done.output
    flags = {"home": str(tmp_path), "cache": str(tmp_path / "cache"), "worker.threads": 1}
    assert served(config.load({}, flags=flags)).engine_name == "openvino fp32"
    required = served(config.load({}, flags=flags | {"worker.precision": "int8"}))
    assert required.engine_name == "openvino int8, near-ties in fp32"


def test_the_table_shows_the_settled_form_in_eighty_columns(offered: tuple[Path, Result]) -> None:
    lines = offered[1].stdout.splitlines()
    (row,) = [line.split() for line in lines if line.startswith("int8 settled  ")]
    assert row[:4] == ["int8", "settled", "100.00%", "100.0%"]
    assert float(row[4]) > 0
    assert "int8 settled is " in offered[1].stdout
    assert max(map(len, lines[lines.index("calibrated on 12 photos, measured on 200, 200 with labels") :])) < 80


def test_photos_of_the_store_are_measured_without_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(int8_offer, "ENOUGH_PHOTOS", 9)
    tiny.write_weights(tmp_path / "weights" / tiny.FILE)
    backend = Backend(config.load({}, flags={"home": str(tmp_path)}))
    done = quantise(tmp_path, "--from-store")
    assert str(done.exception) == "the store holds 0 uploaded photos, and this measurement needs 9"
    for path in tiny.write_photos(tmp_path / "photos", 12, seed=1).iterdir():
        backend.store.put(layout.image_key("b" * 8, path.stem), path.read_bytes())
    done = quantise(tmp_path, "--from-store")
    assert done.exit_code == 0, done.output
    assert "copied 12 photos from the store; they are deleted after the measurement" in done.output
    assert "calibrated on 4 photos, measured on 8, 0 with labels" in done.output


def test_photos_come_from_a_folder_or_from_the_store(tmp_path: Path) -> None:
    for arguments in ((), ("--from-store", "--calibration", str(tmp_path))):
        done = quantise(tmp_path, *arguments)
        assert (done.exit_code, "give either --calibration FOLDER or --from-store" in done.output) == (2, True)


def test_unknown_labels_are_refused(tmp_path: Path, photos: Path) -> None:
    tiny.write_weights(tmp_path / "weights" / tiny.FILE)
    tiny.write_photos(tmp_path / "wrong", 8, seed=1, names=("Tench", "n01443537", "nothing known", "Hen"))
    done = quantise(tmp_path, "--calibration", str(photos / "calibration"), "--labelled", str(tmp_path / "wrong"))
    assert str(done.exception).endswith("wrong: the tagger has no label nothing known")


def test_the_stored_figures_are_readable_json(offered: tuple[Path, Result]) -> None:
    (file,) = offered[0].rglob("figures.json")
    said = json.loads(file.read_text())
    assert (said["labelled"], said["calibrated_on"], said["top1"]["int8"]) == (MIN_LABELLED, 12, 1.0)
    assert (said["lost"], said["won"], said["top1"]["int8 settled"]) == (0, 0, 1.0)
    assert set(said["sha256"]) == {"model.xml", "model.bin", "golden.npy"}
