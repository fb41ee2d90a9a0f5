"""Measures of a tagger's scores: arrays in, numbers out; `nan` where a measure is not defined.

`scores` is (N, C) everywhere: a row for each image, a column for each label, higher meaning surer. `truth` is (N, C)
bool.
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
"""Number of bins of the calibration figures, of equal width (Guo et al. 2017)."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Precision and recall of one label if all scores of at least each threshold count as tags, highest first."""

    thresholds: Floats
    precision: Floats
    recall: Floats


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts per label, (C,) each: right tags, wrong tags and missed tags."""

    hits: Counts
    false_alarms: Counts
    misses: Counts

    @property
    def precision(self) -> Floats:
        """0 for a label that was never given."""
        return ratio(self.hits, self.hits + self.false_alarms)

    @property
    def recall(self) -> Floats:
        """0 for a label that is on no image."""
        return ratio(self.hits, self.hits + self.misses)

    @property
    def f1(self) -> Floats:
        """0 for a label that was neither given nor true."""
        return ratio(2 * self.hits, 2 * self.hits + self.false_alarms + self.misses)


@dataclass(frozen=True, slots=True)
class Means:
    """Precision, recall and F1 over all labels."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """Per bin of confidence, (BINS,) each: count, mean confidence, share that was right (nan if empty)."""

    count: Counts
    confidence: Floats
    right: Floats

    @property
    def error(self) -> float:
        """The expected calibration error: the mean distance between confidence and truth, weighted by count."""
        some = self.count > 0
        if not some.any():
            return float("nan")
        gap = np.abs(self.confidence[some] - self.right[some])
        return float(np.average(gap, weights=self.count[some]))


def ratio(part: Counts, whole: Counts) -> Floats:
    """Divide element by element; 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(np.shape(whole), np.float64), where=np.asarray(whole) > 0)


def curve(scores: Scores, truth: Truth) -> Curve:
    """Return the curve of one label, from scores (N,) and truth (N,). Equal scores make one point."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True))[: len(ordered)]
    hits = np.cumsum(truth[order], dtype=np.int64)[last]
    positives = np.full_like(hits, int(truth.sum()))
    return Curve(ordered[last].astype(np.float64), ratio(hits, last + 1), ratio(hits, positives))


def average_precision(scores: Scores, truth: Truth) -> float:
    """Return one label's Σ (Rₙ − Rₙ₋₁) · Pₙ over the curve's points, without interpolation; nan without a positive.

    This is scikit-learn's definition, and without ties that of the papers on multi-label COCO. It is not Pascal VOC's,
    which makes precision monotone first and so gives as much or more.
    """
    if not truth.any():
        return float("nan")
    points = curve(scores, truth)
    return float(np.sum(np.diff(points.recall, prepend=0.0) * points.precision))


def average_precisions(scores: Scores, truth: Truth) -> Floats:
    """Return each label's average precision, (C,); nan for a label on no image."""
    return np.array([average_precision(scores[:, label], truth[:, label]) for label in range(truth.shape[1])], float)


def mean_average_precision(scores: Scores, truth: Truth) -> float:
    """Return the mAP: the mean over the labels that are on any image; nan if none is."""
    return mean(average_precisions(scores, truth))


def mean(values: Floats) -> float:
    """Return the mean of the defined values; nan if there are none."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def tally(said: Truth, truth: Truth) -> Tally:
    """Count per label; both arguments are (N, C)."""
    return Tally(
        hits=np.sum(said & truth, axis=0, dtype=np.int64),
        false_alarms=np.sum(said & ~truth, axis=0, dtype=np.int64),
        misses=np.sum(~said & truth, axis=0, dtype=np.int64),
    )


def micro(counts: Tally) -> Means:
    """Return the means over all pairs of image and label: frequent labels weigh most."""
    summed = Tally(*(each.sum(keepdims=True) for each in (counts.hits, counts.false_alarms, counts.misses)))
    return Means(float(summed.precision[0]), float(summed.recall[0]), float(summed.f1[0]))


def macro(counts: Tally) -> Means:
    """Return the means over the labels that are on any image: each weighs the same.

    F1 is the mean of the labels' F1, as in scikit-learn, not the harmonic mean of mean precision and mean recall.
    """
    there = counts.hits + counts.misses > 0
    if not there.any():
        return Means(float("nan"), float("nan"), float("nan"))
    return Means(*(float(values[there].mean()) for values in (counts.precision, counts.recall, counts.f1)))


def label_accuracy(said: Truth, truth: Truth) -> float:
    """Return the share of right pairs of image and label. Compare it with `silent_accuracy`."""
    return float(np.mean(said == truth)) if truth.size else float("nan")


def silent_accuracy(truth: Truth) -> float:
    """Return the `label_accuracy` of a tagger that never gives a tag: 96.4 % on COCO's 80 labels."""
    return float(np.mean(~truth)) if truth.size else float("nan")


def top_k(scores: Scores, truth: Truth, k: int) -> float:
    """Return the share of images for which one of the k highest scores is right; of equal scores the first counts.

    With fewer than k labels, every image that has a label counts as right.
    """
    if not len(truth):
        return float("nan")
    highest = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float(np.mean(np.take_along_axis(truth, highest, axis=1).any(axis=1)))


def reliability(confidence: Scores, right: Truth, bins: int = BINS) -> Reliability:
    """Bin statements by their confidence, 0..1, with whether each was right; both shapes are equal."""
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
    """Return the sigmoid of each output; large ones of either sign neither overflow nor warn."""
    half = np.asarray(outputs, np.float64) / 2
    probabilities: Floats = (1 + np.tanh(half)) / 2
    return probabilities


def softmax(outputs: Scores) -> Floats:
    """Return the softmax along the last axis."""
    values = np.asarray(outputs, np.float64)
    powers: Floats = np.exp(values - values.max(axis=-1, keepdims=True))
    powers /= powers.sum(axis=-1, keepdims=True)
    return powers
