"""Choose, on validation photos only, the threshold from which a label is a tag, and the temperature of the outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log

import numpy as np

from training.metrics import Floats, Scores, Truth, curve, sigmoid, softmax

SHRINKAGE = 5.0
"""Pseudo-positives for the threshold that all labels share: a label with few positives of its own relies on it."""

COLDEST, HOTTEST = 0.05, 20.0
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True, slots=True)
class Calibration:
    """How outputs become tags: probability = squash(output / temperature), a tag from its threshold on."""

    temperature: float
    thresholds: tuple[float, ...]
    """One for each label; empty for a tagger without thresholds (single label)."""


def calibrate(outputs: Scores, truth: Truth) -> Calibration:
    """Calibrate a multi-label network by its outputs (N, C) on validation photos, with their truth (N, C)."""
    temperature = sigmoid_temperature(outputs, truth)
    return Calibration(temperature, tuple(map(float, thresholds(sigmoid(outputs / temperature), truth))))


def thresholds(probabilities: Scores, truth: Truth, shrinkage: float = SHRINKAGE) -> Floats:
    """Return each label's threshold of highest F1, (C,), drawn toward that of the highest micro F1 of all labels.

    A label with n positives weighs its own by n / (n + shrinkage). One without positives gets the shared threshold,
    which is 0.5 if no photo has any label.
    """
    shared = best_threshold(np.ravel(probabilities), np.ravel(truth))
    shared = 0.5 if shared is None else shared
    chosen = np.full(truth.shape[1], shared)
    for label in range(truth.shape[1]):
        own = best_threshold(probabilities[:, label], truth[:, label])
        if own is not None:
            weight = truth[:, label].sum() / (truth[:, label].sum() + shrinkage)
            chosen[label] = weight * own + (1 - weight) * shared
    return chosen


def best_threshold(scores: Scores, truth: Truth) -> float | None:
    """Return one label's threshold of highest F1, from scores and truth (N,); None without a positive.

    It is half-way between the lowest score that counts and the next one (or 0), where a new photo's score is least
    likely to fall on the wrong side. Of several equally good ones it is the highest.
    """
    if not truth.any():
        return None
    points = curve(scores, truth)
    total = points.precision + points.recall
    f1 = np.divide(2 * points.precision * points.recall, total, out=np.zeros_like(total), where=total > 0)
    best = int(np.argmax(f1))
    below = points.thresholds[best + 1] if best + 1 < len(f1) else min(0.0, points.thresholds[best])
    return float((points.thresholds[best] + below) / 2)


def sigmoid_temperature(outputs: Scores, truth: Truth) -> float:
    """Return the temperature that makes the truth likeliest, each label by itself; outputs (N, C) (Guo et al. 2017)."""

    def loss(temperature: float) -> float:
        scaled = np.asarray(outputs, np.float64) / temperature
        return float(np.mean(np.logaddexp(0, scaled) - scaled * truth))

    return _lowest(loss) if truth.size else 1.0


def softmax_temperature(outputs: Scores, truth: Truth) -> float:
    """Return the temperature for a network that gives one label: truth (N, C) has one True in each row."""

    def loss(temperature: float) -> float:
        chances = softmax(np.asarray(outputs, np.float64) / temperature)
        return float(np.mean(-np.log(np.maximum(chances[truth], np.finfo(np.float64).tiny))))

    return _lowest(loss) if truth.size else 1.0


def _lowest(loss: Callable[[float], float]) -> float:
    """Golden-section search over the logarithm: these losses are convex in 1 / temperature, so there is one minimum."""
    low, high = log(COLDEST), log(HOTTEST)
    while high - low > 1e-5:
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if loss(exp(left)) <= loss(exp(right)):
            high = right
        else:
            low = left
    return exp((low + high) / 2)
