"""The metrics, against values worked out by hand, a naive reference, and invariants."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from training.fit import metrics
from training.fit.metrics import Scores, Truth

SHAPES = st.tuples(st.integers(1, 12), st.integers(1, 5))
COARSE = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])  # few values: many ties


@st.composite
def scored(draw: st.DrawFn) -> tuple[Scores, Truth]:
    shape = draw(SHAPES)
    return draw(arrays.arrays(np.float64, shape, elements=COARSE)), draw(arrays.arrays(np.bool_, shape))


def naive_average_precision(scores: list[float], truth: list[bool]) -> float:
    """Compute average precision by its definition, threshold by threshold."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores), reverse=True):
        predicted = [score >= threshold for score in scores]
        hits = sum(one and other for one, other in zip(predicted, truth, strict=True))
        precision, recall = hits / sum(predicted), hits / sum(truth)
        total += (recall - before) * precision
        before = recall
    return total


def test_average_precision_of_a_worked_example() -> None:
    # scikit-learn's own example: average_precision_score([0, 0, 1, 1], [0.1, 0.4, 0.35, 0.8]) == 0.8333…
    scores, truth = np.array([0.1, 0.4, 0.35, 0.8]), np.array([False, False, True, True])
    assert metrics.average_precision(scores, truth) == pytest.approx(0.5 * 1 + 0.5 * 2 / 3)


def test_equal_scores_are_ordered_in_nobodys_favour() -> None:
    scores = np.full(4, 0.5)
    assert metrics.average_precision(scores, np.array([True, False, False, False])) == 0.25
    assert metrics.average_precision(scores, np.array([False, False, False, True])) == 0.25


def test_a_label_that_is_nowhere_has_no_average_precision_and_no_part_in_the_mean() -> None:
    truth = np.array([[True, False], [False, False]])
    scores = np.array([[0.9, 0.9], [0.1, 0.8]])
    assert math.isnan(metrics.average_precisions(scores, truth)[1])
    assert metrics.mean_average_precision(scores, truth) == 1.0
    assert math.isnan(metrics.mean_average_precision(scores, np.zeros_like(truth)))


@given(scored())
def test_average_precision_is_that_of_the_definition(case: tuple[Scores, Truth]) -> None:
    scores, truth = case
    found = metrics.average_precisions(scores, truth)
    for label in range(truth.shape[1]):
        if truth[:, label].any():
            assert found[label] == pytest.approx(
                naive_average_precision(scores[:, label].tolist(), truth[:, label].tolist())
            )
            assert 0 < found[label] <= 1


@given(scored(), st.randoms(use_true_random=False))
def test_the_order_of_the_photos_changes_nothing(case: tuple[Scores, Truth], random: object) -> None:
    scores, truth = case
    order = list(range(len(truth)))
    random.shuffle(order)  # type: ignore[attr-defined]
    found, other = metrics.average_precisions(scores, truth), metrics.average_precisions(scores[order], truth[order])
    np.testing.assert_allclose(found, other)
    assert metrics.tally_labels(scores[order] > 0.5, truth[order]).hits.tolist() == (
        metrics.tally_labels(scores > 0.5, truth).hits.tolist()
    )


@given(scored())
def test_only_the_order_of_the_scores_counts(case: tuple[Scores, Truth]) -> None:
    scores, truth = case
    np.testing.assert_allclose(
        metrics.average_precisions(scores, truth), metrics.average_precisions(np.exp(3 * scores) - 7, truth)
    )


@given(scored())
def test_who_knows_the_truth_has_everything(case: tuple[Scores, Truth]) -> None:
    _, truth = case
    counts = metrics.tally_labels(truth, truth)
    if truth.any():
        assert metrics.mean_average_precision(truth.astype(float), truth) == pytest.approx(1)
        assert metrics.micro_average(counts) == metrics.macro_average(counts) == metrics.Means(1, 1, 1)
    assert metrics.label_accuracy(truth, truth) == 1


@given(scored())
def test_f1_lies_between_precision_and_recall(case: tuple[Scores, Truth]) -> None:
    scores, truth = case
    counts = metrics.tally_labels(scores >= 0.5, truth)
    low, high = np.minimum(counts.precision, counts.recall), np.maximum(counts.precision, counts.recall)
    assert ((low - 1e-12 <= counts.f1) & (counts.f1 <= high + 1e-12)).all()


def test_micro_and_macro_of_a_worked_example() -> None:
    truth = np.array([[True, False], [True, False], [True, True], [False, False]])
    predicted = np.array([[True, True], [True, False], [False, False], [False, False]])
    counts = metrics.tally_labels(predicted, truth)  # label 0: 2 hits, 1 miss; label 1: 1 false alarm, 1 miss
    assert metrics.micro_average(counts) == metrics.Means(2 / 3, 2 / 4, 4 / 7)
    assert metrics.macro_average(counts) == metrics.Means(1 / 2, 1 / 3, 2 / 5)


def test_saying_nothing_is_right_on_nearly_all_labels() -> None:
    truth = np.zeros((100, 80), np.bool_)
    truth[:, :3] = True
    truth[:10, 0] = False  # 2.9 labels a photo, as COCO has
    assert metrics.silent_accuracy(truth) == pytest.approx(0.96375)
    assert metrics.label_accuracy(np.zeros_like(truth), truth) == metrics.silent_accuracy(truth)
    assert metrics.micro_average(metrics.tally_labels(np.zeros_like(truth), truth)) == metrics.Means(0, 0, 0)


@given(scored())
def test_more_guesses_are_never_worse(case: tuple[Scores, Truth]) -> None:
    scores, truth = case
    shares = [metrics.top_k_accuracy(scores, truth, k) for k in range(1, truth.shape[1] + 1)]
    assert shares == sorted(shares)
    assert shares[-1] == pytest.approx(truth.any(axis=1).mean())


def test_top_k_of_a_worked_example() -> None:
    scores = np.array([[0.1, 0.5, 0.4], [0.6, 0.3, 0.1]])
    truth = np.array([[False, False, True], [True, False, False]])
    assert [metrics.top_k_accuracy(scores, truth, k) for k in (1, 2, 3)] == [0.5, 1.0, 1.0]


def test_calibration_of_a_worked_example() -> None:
    found = metrics.reliability(
        np.array([0.9, 0.9, 0.9, 0.9, 0.1]), np.array([True, True, True, False, False]), bins=10
    )
    assert found.count.tolist() == [0, 1, 0, 0, 0, 0, 0, 0, 0, 4]
    assert found.error == pytest.approx((4 * 0.15 + 1 * 0.1) / 5)


@given(scored())
@settings(max_examples=50)
def test_the_calibration_error_is_a_share_and_counts_everything(case: tuple[Scores, Truth]) -> None:
    scores, truth = case
    found = metrics.reliability(scores, truth)
    assert found.count.sum() == truth.size
    assert 0 <= found.error <= 1
    assert metrics.reliability(truth.astype(float), truth).error == 0


def test_no_photos_give_no_figures() -> None:
    nothing, none = np.zeros((0, 3)), np.zeros((0, 3), np.bool_)
    assert math.isnan(metrics.mean_average_precision(nothing, none))
    assert math.isnan(metrics.label_accuracy(none, none))
    assert math.isnan(metrics.silent_accuracy(none))
    assert math.isnan(metrics.top_k_accuracy(nothing, none, 1))
    assert math.isnan(metrics.reliability(nothing, none).error)
    assert math.isnan(metrics.macro_average(metrics.tally_labels(none, none)).f1)


def test_large_outputs_become_probabilities_without_a_warning() -> None:
    outputs = np.array([[-1e30, 0.0, 1e30]])
    assert metrics.sigmoid(outputs).tolist() == [[0, 0.5, 1]]
    assert metrics.softmax(outputs).tolist() == [[0, 0, 1]]
