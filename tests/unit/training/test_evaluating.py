"""Evaluate a run and taggers: figures, report, and thresholds that never see a test image."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app_tier.engines import Pixels
from app_tier.taggers import Frame, Prediction
from config.settings import Settings
from core.domain.messages import Tag, TagOptions
from core.errors import DataInvalid, RunInvalid
from tests.unit.training.pictures import COLOURS, folder_of_classes
from tests.unit.training.small_run import trained
from training.data import reading, splits
from training.data.examples import Dataset
from training.evaluate import evaluating, evaluation, evaluation_report
from training.evaluate.evaluating import EvaluationRequest
from training.fit import runs


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_classes(tmp_path_factory.mktemp("data") / "colours", each=20)


@pytest.fixture(scope="module")
def run(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    trained(source, folder, epochs=6, patience=0)
    return folder


@pytest.fixture
def kept(settings: Settings, engine_cache: Path) -> Settings:
    """Convert the network once for all tests."""
    return settings.model_copy(update={"cache": engine_cache})


class ColourTagger:
    """Recognises a colour by its brightest channel, with more confidence if it is brighter."""

    name = "colours"
    version = "colours@1"
    engine_name = "none"
    labels: Sequence[str] = ("Red", "Green", "Blue", "Violet")
    side = 8
    shape = (8, 8, 3)
    most_at_once: int | None = None
    best_batch = 8

    def preprocess(self, image: Image.Image) -> Frame:
        return np.asarray(image.resize((8, 8), Image.Resampling.BOX))

    def infer(self, frames: Pixels, options: Sequence[TagOptions]) -> list[Prediction]:
        means = frames.mean(axis=(1, 2)) / 255
        return [
            Prediction(
                tuple(
                    Tag(name=self.labels[index], confidence=round(float(row[index] / row.sum()), 4))
                    for index in np.argsort(-row)[: wanted.top_k]
                )
            )
            for row, wanted in zip(means, options, strict=True)
        ]


def test_a_run_is_evaluated_on_the_engine_that_would_serve_it(
    run: Path, source: Path, kept: Settings, tmp_path: Path
) -> None:
    found = evaluating.evaluate_run(run, EvaluationRequest(source), kept)
    figures = found.figures
    assert (figures.kind, figures.images, [one.label for one in figures.labels]) == ("multilabel", 6, sorted(COLOURS))
    assert figures.mAP is not None
    assert figures.mAP > 0.8
    assert len(figures.thresholds) == 3
    evaluation_report.write(found, tmp_path / evaluation.FOLDER)
    assert evaluation.read_figures(tmp_path) == figures
    page = (tmp_path / evaluation.FOLDER / evaluation.REPORT).read_text()
    assert page.count("<svg") == 3
    assert "saying nothing: 66.7 %" in page
    assert "<th>accuracy</th><th>saying nothing</th>" in page


def test_thresholds_and_temperature_see_no_test_image(run: Path, source: Path, kept: Settings, tmp_path: Path) -> None:
    """With every test label wrong, only the test figures change."""
    honest = evaluating.evaluate_run(run, EvaluationRequest(source), kept).figures
    dataset = reading.read(source)
    parts = splits.load(run / runs.SPLITS, dataset)
    test = {example.path for example in parts.test.examples}
    lines = ["file,labels"]
    for example in dataset.examples:
        label = next(iter(example.labels))
        told = (label + 1) % 3 if example.path in test else label
        lines.append(f"{dataset.relative_name(example)},{dataset.labels[told]}")
    table = source.parent / "colours" / "lies.csv"
    table.write_text("\n".join(lines) + "\n")
    try:
        lying = reading.read(table)
        assert lying.labels == dataset.labels
        of = {example.path: example for example in lying.examples}
        swapped = splits.Splits(
            *(replace(part, examples=tuple(of[one.path] for one in part.examples)) for part in parts.parts.values())
        )
        splits.save(swapped, tmp_path / "lies.json", lying)
        figures = evaluating.evaluate_run(run, EvaluationRequest(table, splits=tmp_path / "lies.json"), kept).figures
    finally:
        table.unlink()
    assert (figures.thresholds, figures.temperature) == (honest.thresholds, honest.temperature)
    assert figures.mAP is not None
    assert honest.mAP is not None
    assert figures.mAP < honest.mAP


def test_a_run_may_be_measured_on_images_of_another_source(
    run: Path, source: Path, kept: Settings, tmp_path: Path
) -> None:
    others = folder_of_classes(tmp_path / "others", each=4, seed=8)
    honest = evaluating.evaluate_run(run, EvaluationRequest(source), kept).figures
    found = evaluating.evaluate_run(run, EvaluationRequest(source, test=others), kept)
    assert (found.dataset, found.figures.images) == ("others", 12)
    assert found.figures.thresholds == honest.thresholds


def test_no_run_is_measured_on_images_that_it_was_trained_on(
    run: Path, source: Path, settings: Settings, tmp_path: Path
) -> None:
    own = splits.read(run / runs.SPLITS)
    for count, parts in (
        ("48 test", {"train": own.test, "test": own.train}),
        ("48 validation", {"train": own.validation, "validation": own.train}),
        ("6 test", {"validation": own.test, "test": own.validation}),
    ):
        (tmp_path / "other.json").write_text(own.model_copy(update=parts).model_dump_json())
        with pytest.raises(DataInvalid, match=rf"{count} images were used to train .* or to choose its epoch"):
            evaluating.evaluate_run(run, EvaluationRequest(source, splits=tmp_path / "other.json"), settings)


def test_no_run_is_measured_on_copies_of_what_it_was_trained_on(
    run: Path, source: Path, settings: Settings, tmp_path: Path
) -> None:
    with pytest.raises(DataInvalid, match="54 test images were used to train"):
        evaluating.evaluate_run(run, EvaluationRequest(source, test=source), settings)
    others = folder_of_classes(tmp_path / "others", each=1, seed=8)
    trained = splits.read(run / runs.SPLITS).train[0]
    shutil.copy(source / trained, others / "red" / "copy.png")
    with pytest.raises(DataInvalid, match=r"1 test images were used to train .*, such as .*/red/copy\.png"):
        evaluating.evaluate_run(run, EvaluationRequest(source, test=others), settings)


def test_a_split_that_was_changed_since_the_training_is_told(
    run: Path, source: Path, settings: Settings, tmp_path: Path
) -> None:
    changed = shutil.copytree(run, tmp_path / "run")
    kept = splits.read(run / runs.SPLITS)
    swapped = kept.model_copy(update={"train": kept.test, "test": kept.train})
    (changed / runs.SPLITS).write_text(swapped.model_dump_json())
    with pytest.raises(RunInvalid, match=r"splits\.json changed since the run was trained"):
        evaluating.evaluate_run(changed, EvaluationRequest(source), settings)


def test_a_tagger_of_one_label_is_measured_by_its_first_guesses(source: Path) -> None:
    found = evaluating.evaluate_tagger(ColourTagger(), (), EvaluationRequest(source))
    assert (found.figures.kind, found.figures.images, found.figures.top_1) == ("single", 60, 1.0)
    assert [one.images for one in found.figures.labels] == [20, 20, 20, 0]
    names = [name for name, _ in evaluation_report.list_figures(found.figures)]
    assert names[:4] == ["images", "top-1", "top-5", "top-10"]


def test_a_tagger_with_thresholds_is_measured_label_by_label(source: Path) -> None:
    found = evaluating.evaluate_tagger(ColourTagger(), (0.4, 0.4, 0.4, 0.4), EvaluationRequest(source))
    assert (found.figures.kind, found.figures.mAP, found.figures.top_1) == ("multilabel", 1.0, None)


def test_only_the_test_part_of_a_split_is_measured(run: Path, source: Path) -> None:
    found = evaluating.evaluate_tagger(ColourTagger(), (), EvaluationRequest(source, splits=run / runs.SPLITS))
    assert found.figures.images == 6


def test_labels_that_the_model_does_not_know_are_named(source: Path) -> None:
    dataset = reading.read(source)
    with pytest.raises(DataInvalid, match=r"colours has 2 labels that the model does not know: green, red"):
        evaluating.relabel(dataset, ("Blue", "Violet"))
    known = evaluating.relabel(dataset, ("Violet", "RED", "Green", "Blue"))
    assert {label for example in known.examples for label in example.labels} == {1, 2, 3}


def test_images_of_several_labels_are_nothing_for_a_tagger_of_one(tmp_path: Path) -> None:
    folder_of_classes(tmp_path, each=1)
    (tmp_path / "labels.csv").write_text("file,labels\nred/0.png,red\nblue/0.png,blue;red\ngreen/0.png,green\n")
    with pytest.raises(DataInvalid, match=r"blue/0\.png has 2"):
        evaluating.evaluate_tagger(ColourTagger(), (), EvaluationRequest(tmp_path))


def test_images_that_cannot_be_read_are_named_or_refused(tmp_path: Path) -> None:
    source = folder_of_classes(tmp_path / "colours", each=3)
    (source / "red" / "1.png").write_bytes(b"no image")
    found = evaluating.evaluate_tagger(ColourTagger(), (), EvaluationRequest(source))
    assert found.figures.images == 8
    assert [problem.partition(": ")[0] for problem in found.figures.skipped] == [str(source / "red" / "1.png")]
    with pytest.raises(DataInvalid, match=r"1\.png: not an image"):
        evaluating.evaluate_tagger(ColourTagger(), (), EvaluationRequest(source, strict=True))


def test_what_is_no_run_is_told(tmp_path: Path, source: Path, settings: Settings) -> None:
    with pytest.raises(RunInvalid, match="not the folder of a training"):
        evaluating.evaluate_run(tmp_path, EvaluationRequest(source), settings)
    (tmp_path / runs.RUN).write_text("{}")
    with pytest.raises(RunInvalid, match="damaged"):
        evaluating.evaluate_run(tmp_path, EvaluationRequest(source), settings)


def test_the_confusion_of_several_labels_pairs_misses_with_false_alarms() -> None:
    truth = np.array([[True, False, False], [True, True, False]])
    said = np.array([[False, True, False], [True, False, True]])
    found = evaluation_report.count_confusions(said, truth, [0, 1, 2])
    assert found.tolist() == [[1, 1, 0], [0, 0, 1], [0, 0, 0]]


def test_a_dataset_keeps_its_images_when_it_is_relabelled() -> None:
    empty = Dataset("none", ("a",), ())
    assert evaluating.relabel(empty, ("b",)).labels == ("b",)
