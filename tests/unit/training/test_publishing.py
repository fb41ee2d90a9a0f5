"""`tagfleet publish` makes a run's folder a model that workers serve."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result
from safetensors.torch import load_file, save_file

from app_tier.engines import modules
from app_tier.worker import selection
from config.settings import PoolSettings, Settings
from core.errors import DataInvalid, RunInvalid, WeightsInvalid
from core.storage.models import Input, Registry, sha256_of
from core.wiring import Backend
from tagfleet.cli import cli
from tests.unit.training.sources import coco
from training.data import reading, splits
from training.evaluate import evaluation
from training.evaluate.evaluation import FIGURES, FOLDER, evaluate_scores
from training.fit import runs
from training.fit.options import Options
from training.fit.runs import BEST, RUN, TrainingRun
from training.publish import publishing

LABELS = ("dog", "cat")


def evaluate(folder: Path) -> None:
    """Write the evaluation of made-up scores, as `tagfleet evaluate` does."""
    truth = np.array([[True, False], [False, True], [True, True], [False, False]])
    scores = np.where(truth, 0.8, 0.3) - [[0.0], [0.1], [0.0], [0.1]]
    figures = evaluate_scores(scores, truth, LABELS, thresholds=(0.4, 0.6), temperature=1.5)
    kept = figures.model_copy(update={"weights_sha256": sha256_of(folder / BEST)})
    (folder / FOLDER).mkdir(exist_ok=True)
    (folder / FOLDER / FIGURES).write_text(kept.model_dump_json())


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of a trained and evaluated run."""
    folder = tmp_path / "run"
    folder.mkdir()
    torch.manual_seed(1)
    save_file(modules.create_module("timm/test_efficientnet", len(LABELS)).state_dict(), folder / BEST)
    dataset = reading.read(coco(tmp_path / "data"))
    splits.save(splits.split(dataset), folder / runs.SPLITS, dataset)
    run = TrainingRun(
        options=Options(network="timm/test_efficientnet", lr=0.01, augment=False, frozen_backbone=True),
        architecture="timm/test_efficientnet",
        input=Input(resize=32, crop=32),
        labels=LABELS,
        dataset=dataset.name,
        splits_sha256="ab" * 32,
        initial_sha256="",
        processes=1,
    )
    runs.begin(folder, run)
    evaluate(folder)
    return folder


@pytest.fixture
def publish(settings: Settings, folder: Path) -> Callable[..., Result]:
    def run(*arguments: str) -> Result:
        environment = {"TAGFLEET_HOME": str(settings.home), "TAGFLEET_CACHE": str(settings.cache)}
        return CliRunner(env=environment).invoke(cli, ["publish", str(folder), "--name", "pets", *arguments])

    return run


def test_what_is_published_is_served_with_its_thresholds(settings, folder, publish, tmp_path):
    (tmp_path / "card.md").write_text("For pets that sit still.")
    done = publish("--licence", "CC BY 4.0", "--card", str(tmp_path / "card.md"))
    assert done.exit_code == 0, done.output
    store = Backend(settings).store
    manifest = Registry(store).find("pets")
    assert done.stdout.startswith(f"published {manifest.reference}: 2 labels, mAP 1.000, ")
    assert (manifest.labels, manifest.thresholds, manifest.temperature) == (LABELS, (0.4, 0.6), 1.5)
    assert (manifest.family, manifest.architecture) == ("multilabel", "timm/test_efficientnet")
    assert manifest.metrics["mAP"] == 1.0
    assert manifest.licence == "CC BY 4.0"
    assert manifest.card.startswith("For pets that sit still.")
    choice = selection.choose(PoolSettings(tagger="pets"), settings, store, lambda *_: None)
    assert choice.name == manifest.reference


def test_the_default_is_moved_only_if_wanted(settings, folder, publish):
    registry = Registry(Backend(settings).store)
    older = publishing.build_manifest(folder, "pets", 0.0).model_copy(update={"temperature": 2.0})
    registry.add(older, publishing.find_weights(folder))
    done = publish("--no-default")
    assert registry.default("pets") == older.version
    assert f"pets still means {older.reference}" in done.stdout


def test_the_card_says_what_a_person_needs_to_know(folder):
    made = publishing.build_manifest(folder, "pets", 0.0, licence="CC BY 4.0", about="For pets that sit still.\n")
    assert made.card.startswith("For pets that sit still.\n\n# pets\n")
    for line in (
        "| mAP | 100.0 % | 50.0 % |",
        "| accuracy per label | 100.0 % | 50.0 % |",
        "CC BY 4.0",
        "    tagfleet train SOURCE --run RUN --from-scratch --arch timm/test_efficientnet --no-augment --lr 0.01 "
        "--frozen-backbone",
    ):
        assert line in made.card.splitlines()
    assert "instances: 1 images to learn from, 1 to choose" in made.card


def refused(folder: Path, kind: type[Exception], name: str = "pets") -> str:
    with pytest.raises(kind) as error:
        publishing.build_manifest(folder, name, 0.0)
    return str(error.value)


def test_a_run_that_was_never_evaluated(folder):
    (folder / FOLDER / FIGURES).unlink()
    assert "is not evaluated yet" in refused(folder, WeightsInvalid)


def test_a_run_that_was_trained_further_since(folder):
    state = load_file(folder / BEST)
    save_file(state | {"classifier.bias": state["classifier.bias"] + 1}, folder / BEST)
    assert "was trained further since it was evaluated" in refused(folder, RunInvalid)


def test_weights_that_are_no_numbers(folder):
    state = load_file(folder / BEST)
    save_file(state | {"classifier.bias": torch.tensor([0.0, float("nan")])}, folder / BEST)
    evaluate(folder)
    assert "classifier.bias has values that are not finite" in refused(folder, WeightsInvalid)


def test_weights_of_another_shape(folder):
    state = load_file(folder / BEST)
    save_file(state | {"classifier.bias": torch.zeros(3)}, folder / BEST)
    evaluate(folder)
    assert "'classifier.bias' is missing or has another shape" in refused(folder, WeightsInvalid)


def test_weights_that_are_none(folder):
    (folder / BEST).write_bytes(b"0123456789")
    evaluate(folder)
    assert "cannot be read as weights" in refused(folder, WeightsInvalid)


def test_an_evaluation_of_other_labels(folder):
    figures = evaluation.read_figures(folder)
    other = figures.model_copy(update={"labels": figures.labels[:1]})
    (folder / FOLDER / FIGURES).write_text(other.model_dump_json())
    assert "its evaluation is of other labels" in refused(folder, RunInvalid)


def test_a_name_that_is_none(folder):
    assert "cannot be published as 'My Pets': name:" in refused(folder, RunInvalid, "My Pets")


@pytest.mark.parametrize(
    ("gone", "kind", "text"),
    [
        (RUN, RunInvalid, "is not the folder of a training"),
        (BEST, RunInvalid, "its training has not finished an epoch yet"),
        (runs.SPLITS, DataInvalid, "No such file"),
    ],
)
def test_a_folder_that_lacks_something(folder, gone, kind, text):
    (folder / gone).unlink()
    assert text in refused(folder, kind)


def test_nothing_is_added_where_something_is_wrong(settings, folder, publish):
    (folder / FOLDER / FIGURES).unlink()
    assert publish().exit_code == 1
    assert not list(Backend(settings).store.list("models/"))
