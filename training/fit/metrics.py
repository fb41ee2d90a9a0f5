"""Metrics of a tagger's scores, as pure functions of arrays. An undefined figure is `nan`.

Unless stated otherwise, `scores` is (N, C): a row per image, a column per label, higher is more confident. `truth` is
(N, C) bool, and `predicted` is (N, C) bool: which labels the tagger predicts for which image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.floating]
Truth = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

BINS = 15
"""Number of confidence bins of equal width in the calibration figures (Guo et al. 2017)."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Precision and recall of one label at each threshold, highest first. Scores from it on are positive."""

    thresholds: Floats
    precision: Floats
    recall: Floats


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts per label, (C,) each: true positives, false positives and false negatives."""

    hits: Counts
    false_alarms: Counts
    misses: Counts

    @property
    def precision(self) -> Floats:
        """0 for a label that was never predicted."""
        return ratio(self.hits, self.hits + self.false_alarms)

    @property
    def recall(self) -> Floats:
        """0 for a label that no image has."""
        return ratio(self.hits, self.hits + self.misses)

    @property
    def f1(self) -> Floats:
        """0 for a label that was never predicted and that no image has."""
        return ratio(2 * self.hits, 2 * self.hits + self.false_alarms + self.misses)


@dataclass(frozen=True, slots=True)
class Means:
    """Precision, recall and F1 of all labels together."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """Per confidence bin, (BINS,) each: the count, the mean confidence, and the share that was right (nan if empty)."""

    count: Counts
    confidence: Floats
    right: Floats

    @property
    def error(self) -> float:
        """The expected calibration error: the mean distance between confidence and share right, weighted by count."""
        some = self.count > 0
        if not some.any():
            return float("nan")
        gap = np.abs(self.confidence[some] - self.right[some])
        return float(np.average(gap, weights=self.count[some]))


def ratio(part: Counts, whole: Counts) -> Floats:
    """Return part / whole element by element; 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(np.shape(whole), np.float64), where=np.asarray(whole) > 0)


def compute_curve(scores: Scores, truth: Truth) -> Curve:
    """Return the precision-recall curve of one label from scores (N,) and truth (N,). Equal scores share one point."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True))[: len(ordered)]
    hits = np.cumsum(truth[order], dtype=np.int64)[last]
    positives = np.full_like(hits, int(truth.sum()))
    return Curve(ordered[last].astype(np.float64), ratio(hits, last + 1), ratio(hits, positives))


def average_precision(scores: Scores, truth: Truth) -> float:
    """Return Σ (Rₙ − Rₙ₋₁) · Pₙ over one label's curve, without interpolation; nan without a positive.

    This is scikit-learn's definition and, without ties, that of the papers on multi-label COCO. Pascal VOC makes
    precision monotone first, and so its values are equal or higher.
    """
    if not truth.any():
        return float("nan")
    points = compute_curve(scores, truth)
    return float(np.sum(np.diff(points.recall, prepend=0.0) * points.precision))


def average_precisions(scores: Scores, truth: Truth) -> Floats:
    """Return each label's average precision, (C,); nan for a label that no image has."""
    return np.array([average_precision(scores[:, label], truth[:, label]) for label in range(truth.shape[1])], float)


def mean_average_precision(scores: Scores, truth: Truth) -> float:
    """Return the mAP: the mean over the labels that at least one image has; nan if there are none."""
    return mean(average_precisions(scores, truth))


def mean(values: Floats) -> float:
    """Return the mean of the values that are not nan; nan if there are none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def tally_labels(predicted: Truth, truth: Truth) -> Tally:
    """Count hits, false alarms and misses of each label."""
    return Tally(
        hits=np.sum(predicted & truth, axis=0, dtype=np.int64),
        false_alarms=np.sum(predicted & ~truth, axis=0, dtype=np.int64),
        misses=np.sum(~predicted & truth, axis=0, dtype=np.int64),
    )


def micro_average(counts: Tally) -> Means:
    """Average over all pairs of image and label, so that frequent labels weigh most."""
    summed = Tally(*(each.sum(keepdims=True) for each in (counts.hits, counts.false_alarms, counts.misses)))
    return Means(float(summed.precision[0]), float(summed.recall[0]), float(summed.f1[0]))


def macro_average(counts: Tally) -> Means:
    """Average over the labels that at least one image has, with equal weights.

    F1 is the mean of the labels' F1, as in scikit-learn, and not the harmonic mean of mean precision and recall.
    """
    there = counts.hits + counts.misses > 0
    if not there.any():
        return Means(float("nan"), float("nan"), float("nan"))
    return Means(*(float(values[there].mean()) for values in (counts.precision, counts.recall, counts.f1)))


def label_accuracy(predicted: Truth, truth: Truth) -> float:
    """Return the share of correct pairs of image and label. Alone it means little: see `silent_accuracy`."""
    return float(np.mean(predicted == truth)) if truth.size else float("nan")


def silent_accuracy(truth: Truth) -> float:
    """Return the `label_accuracy` of a tagger that gives no labels: 96.4 % on COCO's 80 labels."""
    return float(np.mean(~truth)) if truth.size else float("nan")


def top_k_accuracy(scores: Scores, truth: Truth, k: int) -> float:
    """Return the share of images where at least one of the k highest scores is right. Ties go to the first label.

    With fewer than k labels, every image with a label counts as right.
    """
    if not len(truth):
        return float("nan")
    highest = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float(np.mean(np.take_along_axis(truth, highest, axis=1).any(axis=1)))


def reliability(confidence: Scores, right: Truth, bins: int = BINS) -> Reliability:
    """Bin predictions by confidence (0..1). `right` says whether each was correct; both arrays have the same shape."""
    flat, correct = np.ravel(confidence).astype(np.float64), np.ravel(right)
    which = np.clip((flat * bins).astype(np.int64), 0, bins - 1)
    count = np.bincount(which, minlength=bins)
    with np.errstate(invalid="ignore"):
        return Reliability(
            count=count,
            confidence=np.bincount(which, weights=flat, minlength=bins) / count,
            right=np.bincount(which, weights=correct, minlength=bins) / count,
        )


def sigmoid(outputs: Scores) -> Floats:
    """Return the sigmoid of each output, without overflow or warnings for large values of either sign."""
    half = np.asarray(outputs, np.float64) / 2
    probabilities: Floats = (1 + np.tanh(half)) / 2
    return probabilities


def softmax(outputs: Scores) -> Floats:
    """Return the softmax along the last axis."""
    values = np.asarray(outputs, np.float64)
    powers: Floats = np.exp(values - values.max(axis=-1, keepdims=True))
    powers /= powers.sum(axis=-1, keepdims=True)
    return powers
