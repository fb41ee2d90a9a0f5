"""The figures of an evaluation, and their file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from core.errors import WeightsInvalid
from training.evaluate import evaluation
from training.evaluate.evaluation import EvaluationFigures, evaluate_scores

LABELS = ("cat", "dog", "owl")


def test_several_labels_at_their_thresholds() -> None:
    scores = np.array([[0.9, 0.2, 0.1], [0.4, 0.8, 0.1], [0.3, 0.6, 0.1]])
    truth = np.array([[True, False, False], [True, True, False], [False, False, False]])
    found = evaluate_scores(scores, truth, LABELS, thresholds=(0.35, 0.5, 0.5), temperature=1.5)
    assert (found.kind, found.images, found.temperature, found.thresholds) == ("multilabel", 3, 1.5, (0.35, 0.5, 0.5))
    assert found.mAP == 1.0
    assert found.mAP_of_chance == pytest.approx((2 / 3 + 1 / 3) / 2)
    assert (found.micro.precision, found.micro.recall) == (3 / 4, 1.0)
    assert found.label_accuracy == pytest.approx(8 / 9)
    assert found.silent_accuracy == pytest.approx(6 / 9)
    assert found.top_1 is None
    cat, _, owl = found.labels
    assert (cat.images, cat.f1, cat.threshold) == (2, 1.0, 0.35)
    assert (owl.images, owl.average_precision) == (0, None)
    assert [one.accuracy for one in found.labels] == [1.0, pytest.approx(2 / 3), 1.0]
    assert [one.silent_accuracy for one in found.labels] == [pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0]


def test_one_label_each_is_the_highest_score() -> None:
    scores = np.array([[0.7, 0.2, 0.1], [0.3, 0.4, 0.3], [0.1, 0.2, 0.7], [0.5, 0.4, 0.1]])
    truth = np.eye(3, dtype=np.bool_)[[0, 1, 2, 1]]
    found = evaluate_scores(scores, truth, LABELS)
    assert (found.kind, found.top_1, found.top_5, found.top_10) == ("single", 0.75, 1.0, 1.0)
    assert found.micro.f1 == 0.75
    assert found.labels[1].recall == 0.5
    assert found.calibration_error is not None
    assert "top_1" in found.metrics


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="do not match"):
        evaluate_scores(np.zeros((2, 3)), np.zeros((2, 3), np.bool_), LABELS[:2])


@pytest.mark.parametrize("thresholds", [(), (0.5, 0.5, 0.5)])
def test_no_photos_give_figures_that_are_not_defined(thresholds: tuple[float, ...]) -> None:
    found = evaluate_scores(np.zeros((0, 3)), np.zeros((0, 3), np.bool_), LABELS, thresholds=thresholds)
    assert (found.images, found.mAP, found.label_accuracy, found.calibration_error) == (0, None, None, None)
    assert {(one.accuracy, one.silent_accuracy) for one in found.labels} == {(None, None)}


def test_what_is_kept_is_read_again(tmp_path: Path) -> None:
    truth = np.array([[True, False, False]])
    found = evaluate_scores(truth.astype(float), truth, LABELS, thresholds=(0.5, 0.5, 0.5), skipped=("a.jpg",))
    with pytest.raises(WeightsInvalid, match="is not evaluated yet"):
        evaluation.read_figures(tmp_path)
    folder = tmp_path / evaluation.FOLDER
    folder.mkdir()
    (folder / evaluation.FIGURES).write_text(found.model_dump_json())
    assert evaluation.read_figures(tmp_path) == found
    (folder / evaluation.FIGURES).write_text('{"kind": "multilabel"}')
    with pytest.raises(WeightsInvalid, match="images"):
        evaluation.read_figures(tmp_path)


def test_figures_survive_json_where_they_are_not_defined() -> None:
    found = evaluate_scores(np.zeros((0, 3)), np.zeros((0, 3), np.bool_), LABELS)
    assert EvaluationFigures.model_validate_json(found.model_dump_json()) == found
