"""Thresholds and temperatures, compared with an exhaustive search."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from training.evaluate import thresholds
from training.fit import metrics
from training.fit.metrics import Scores, Truth

OUTPUTS = st.floats(-4, 4).map(lambda value: round(value, 1))


@st.composite
def one_label(draw: st.DrawFn) -> tuple[Scores, Truth]:
    count = draw(st.integers(1, 14))
    scores = arrays.arrays(np.float64, count, elements=st.floats(0, 1).map(lambda value: round(value, 1)))
    return draw(scores), draw(arrays.arrays(np.bool_, count))


def f1_at(threshold: float, scores: Scores, truth: Truth) -> float:
    return float(metrics.tally_labels(scores[:, None] >= threshold, truth[:, None]).f1[0])


@given(one_label())
def test_no_threshold_has_a_higher_f1(case: tuple[Scores, Truth]) -> None:
    scores, truth = case
    found = thresholds.find_best_threshold(scores, truth)
    if not truth.any():
        assert found is None
        return
    assert found is not None
    assert 0 <= found <= 1
    best = max(f1_at(threshold, scores, truth) for threshold in np.linspace(0, 1, 101))
    assert f1_at(found, scores, truth) == pytest.approx(best)


def test_a_threshold_lies_half_way_to_the_next_score() -> None:
    scores, truth = np.array([0.9, 0.8, 0.4, 0.1]), np.array([True, True, False, False])
    assert thresholds.find_best_threshold(scores, truth) == pytest.approx(0.6)


def test_a_rare_label_leans_on_the_threshold_of_all() -> None:
    rng = np.random.default_rng(1)
    truth = np.zeros((200, 3), np.bool_)
    truth[:100, 0] = True
    truth[0, 1] = True  # one positive; label 2 has none
    scores = np.where(truth, 0.7, 0.3) + rng.uniform(-0.05, 0.05, truth.shape)
    scores[0, 1] = 0.95
    scores[1:, 1] = rng.uniform(0.85, 0.9, 199)
    shared = thresholds.find_best_threshold(scores.ravel(), truth.ravel())
    own = thresholds.find_best_threshold(scores[:, 1], truth[:, 1])
    assert shared is not None
    assert own is not None
    found = thresholds.choose_thresholds(scores, truth, shrinkage=5)
    assert found[2] == shared
    assert found[1] == pytest.approx(own / 6 + shared * 5 / 6)
    assert thresholds.choose_thresholds(scores, truth, shrinkage=0)[1] == own


def test_without_any_positive_the_threshold_is_a_half() -> None:
    assert thresholds.choose_thresholds(np.full((4, 2), 0.2), np.zeros((4, 2), np.bool_)).tolist() == [0.5, 0.5]


@pytest.mark.parametrize("planted", [0.5, 1.0, 3.0])
def test_a_planted_temperature_is_found(planted: float) -> None:
    rng = np.random.default_rng(2)
    honest = rng.normal(0, 2, (4000, 4))
    truth = rng.uniform(size=honest.shape) < metrics.sigmoid(honest)
    assert thresholds.fit_sigmoid_temperature(honest * planted, truth) == pytest.approx(planted, rel=0.06)
    chosen = np.array([rng.choice(4, p=row) for row in metrics.softmax(honest)])
    one_hot = np.eye(4, dtype=np.bool_)[chosen]
    assert thresholds.fit_softmax_temperature(honest * planted, one_hot) == pytest.approx(planted, rel=0.06)


@given(arrays.arrays(np.float64, (9, 3), elements=OUTPUTS), arrays.arrays(np.bool_, (9, 3)))
def test_a_temperature_keeps_the_order_and_never_makes_the_truth_less_likely(outputs: Scores, truth: Truth) -> None:
    def surprise(temperature: float) -> float:
        return float(np.mean(np.logaddexp(0, outputs / temperature) - outputs / temperature * truth))

    found = thresholds.calibrate(outputs, truth)
    assert thresholds.COLDEST <= found.temperature <= thresholds.HOTTEST
    assert surprise(found.temperature) <= surprise(1.0) + 1e-6
    np.testing.assert_allclose(
        metrics.average_precisions(metrics.sigmoid(outputs / found.temperature), truth),
        metrics.average_precisions(outputs, truth),
    )
    assert len(found.thresholds) == 3


def test_no_photos_leave_things_as_they_are() -> None:
    found = thresholds.calibrate(np.zeros((0, 2)), np.zeros((0, 2), np.bool_))
    assert found == thresholds.Calibration(1.0, (0.5, 0.5))
