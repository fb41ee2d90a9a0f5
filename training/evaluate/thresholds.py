"""Choose each label's threshold and the temperature of the outputs, on validation photos only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log

import numpy as np

from training.fit.metrics import Floats, Scores, Truth, compute_curve, sigmoid, softmax

SHRINKAGE = 5.0
"""Weight of the shared threshold, in positives: labels with few positives of their own stay close to it."""

COLDEST, HOTTEST = 0.05, 20.0
"""Range in which the temperature is searched."""
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True, slots=True)
class Calibration:
    """Turns outputs into tags: probability = squash(output / temperature), and a tag from the threshold on."""

    temperature: float
    thresholds: tuple[float, ...]
    """One per label; empty for a tagger without thresholds (single label)."""


def calibrate(outputs: Scores, truth: Truth) -> Calibration:
    """Calibrate a multi-label network by its outputs (N, C) on validation photos and their truth (N, C)."""
    temperature = fit_sigmoid_temperature(outputs, truth)
    return Calibration(temperature, tuple(map(float, choose_thresholds(sigmoid(outputs / temperature), truth))))


def choose_thresholds(probabilities: Scores, truth: Truth, shrinkage: float = SHRINKAGE) -> Floats:
    """Return each label's threshold (C,): that of its highest F1, shrunk toward that of the highest micro F1.

    A label with n positives weights its own threshold by n / (n + shrinkage). A label without positives gets the shared
    threshold, which is 0.5 if no photo has a label.
    """
    shared = find_best_threshold(np.ravel(probabilities), np.ravel(truth))
    shared = 0.5 if shared is None else shared
    chosen = np.full(truth.shape[1], shared)
    for label in range(truth.shape[1]):
        own = find_best_threshold(probabilities[:, label], truth[:, label])
        if own is not None:
            weight = truth[:, label].sum() / (truth[:, label].sum() + shrinkage)
            chosen[label] = weight * own + (1 - weight) * shared
    return chosen


def find_best_threshold(scores: Scores, truth: Truth) -> float | None:
    """Return the threshold with the highest F1 for one label, from (N,) scores and truth; None without a positive.

    It is half-way between the lowest accepted score and the next lower one (or 0), where a new photo's score is least
    likely to fall on the wrong side. Among equally good thresholds, the highest is chosen.
    """
    if not truth.any():
        return None
    points = compute_curve(scores, truth)
    total = points.precision + points.recall
    f1 = np.divide(2 * points.precision * points.recall, total, out=np.zeros_like(total), where=total > 0)
    best = int(np.argmax(f1))
    below = points.thresholds[best + 1] if best + 1 < len(f1) else min(0.0, points.thresholds[best])
    return float((points.thresholds[best] + below) / 2)


def fit_sigmoid_temperature(outputs: Scores, truth: Truth) -> float:
    """Return the temperature with the highest likelihood of the truth, for independent labels (Guo et al. 2017)."""

    def loss(temperature: float) -> float:
        scaled = np.asarray(outputs, np.float64) / temperature
        return float(np.mean(np.logaddexp(0, scaled) - scaled * truth))

    return _minimise(loss) if truth.size else 1.0


def fit_softmax_temperature(outputs: Scores, truth: Truth) -> float:
    """Return the same for a single-label network, where truth (N, C) has one True in each row."""

    def loss(temperature: float) -> float:
        chances = softmax(np.asarray(outputs, np.float64) / temperature)
        return float(np.mean(-np.log(np.maximum(chances[truth], np.finfo(np.float64).tiny))))

    return _minimise(loss) if truth.size else 1.0


def _minimise(loss: Callable[[float], float]) -> float:
    """Minimise by golden-section search over log temperature. These losses are convex in 1 / temperature."""
    low, high = log(COLDEST), log(HOTTEST)
    while high - low > 1e-5:
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if loss(exp(left)) <= loss(exp(right)):
            high = right
        else:
            low = left
    return exp((low + high) / 2)
