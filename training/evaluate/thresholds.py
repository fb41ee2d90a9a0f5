"""From which probability on a label is a tag, and how far to trust an output: chosen on validation photos only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import exp, log

import numpy as np

from training.fit.metrics import Floats, Scores, Truth, compute_curve, sigmoid, softmax

SHRINKAGE = 5.0
"""So many imagined positives speak for the threshold that all labels share: a label with few of its own leans on it."""

COLDEST, HOTTEST = 0.05, 20.0
_GOLDEN = (5**0.5 - 1) / 2


@dataclass(frozen=True, slots=True)
class Calibration:
    """What turns a network's outputs into tags: probability = squash(output / temperature), tag from threshold on."""

    temperature: float
    thresholds: tuple[float, ...]
    """One for each label; empty where a tagger has none (single label)."""


def calibrate(outputs: Scores, truth: Truth) -> Calibration:
    """Of a multi-label network's outputs (N, C) on validation photos, with their truth (N, C)."""
    temperature = fit_sigmoid_temperature(outputs, truth)
    return Calibration(temperature, tuple(map(float, choose_thresholds(sigmoid(outputs / temperature), truth))))


def choose_thresholds(probabilities: Scores, truth: Truth, shrinkage: float = SHRINKAGE) -> Floats:
    """(C,): of each label the threshold of its highest F1, drawn toward the one of the highest micro F1 of all labels.

    A label with n positives keeps n / (n + shrinkage) of its own; one with none has the shared threshold, which is
    0.5 if no label is on any photo.
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
    """Of one label, (N,) each: the threshold of the highest F1, None without a positive.

    It lies half-way between the lowest score that counts and the next one (or 0), where a new photo's score is least
    likely to fall on the wrong side; of several as good the highest.
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
    """The temperature that makes outputs (N, C), each label by itself, likeliest on the truth (Guo et al. 2017)."""

    def loss(temperature: float) -> float:
        scaled = np.asarray(outputs, np.float64) / temperature
        return float(np.mean(np.logaddexp(0, scaled) - scaled * truth))

    return _lowest(loss) if truth.size else 1.0


def fit_softmax_temperature(outputs: Scores, truth: Truth) -> float:
    """The same for a network that gives each photo one label: truth (N, C) has one True in each row."""

    def loss(temperature: float) -> float:
        chances = softmax(np.asarray(outputs, np.float64) / temperature)
        return float(np.mean(-np.log(np.maximum(chances[truth], np.finfo(np.float64).tiny))))

    return _lowest(loss) if truth.size else 1.0


def _lowest(loss: Callable[[float], float]) -> float:
    """Golden-section search over the logarithm: these losses are convex in 1 / temperature, so have one valley."""
    low, high = log(COLDEST), log(HOTTEST)
    while high - low > 1e-5:
        left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
        if loss(exp(left)) <= loss(exp(right)):
            high = right
        else:
            low = left
    return exp((low + high) / 2)
