"""What is measured of a tagger's scores. Pure: arrays in, numbers out; `nan` where a figure is not defined.

Throughout, `scores` is (N, C), one row an image and one column a label, higher meaning surer; `truth` is (N, C) bool.
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
"""Of the calibration figures, of equal width (Guo et al. 2017)."""


@dataclass(frozen=True, slots=True)
class Curve:
    """Precision and recall of one label if all scores from `thresholds` on count as said, the highest first."""

    thresholds: Floats
    precision: Floats
    recall: Floats


@dataclass(frozen=True, slots=True)
class Tally:
    """Per label, (C,) each: what was said rightly, said wrongly, and not said though it is there."""

    hits: Counts
    false_alarms: Counts
    misses: Counts

    @property
    def precision(self) -> Floats:
        """0 for a label that was never said."""
        return ratio(self.hits, self.hits + self.false_alarms)

    @property
    def recall(self) -> Floats:
        """0 for a label that is on no image."""
        return ratio(self.hits, self.hits + self.misses)

    @property
    def f1(self) -> Floats:
        """0 for a label that was neither said nor there."""
        return ratio(2 * self.hits, 2 * self.hits + self.false_alarms + self.misses)


@dataclass(frozen=True, slots=True)
class Means:
    """Precision, recall and F1 of all labels together."""

    precision: float
    recall: float
    f1: float


@dataclass(frozen=True, slots=True)
class Reliability:
    """Per bin of confidence, (BINS,) each: how many, their mean confidence, the share that was right (nan if none)."""

    count: Counts
    confidence: Floats
    right: Floats

    @property
    def error(self) -> float:
        """The expected calibration error: how far confidence and truth are apart, on average over all that was said."""
        some = self.count > 0
        if not some.any():
            return float("nan")
        gap = np.abs(self.confidence[some] - self.right[some])
        return float(np.average(gap, weights=self.count[some]))


def ratio(part: Counts, whole: Counts) -> Floats:
    """Element by element; 0 where the whole is 0."""
    return np.divide(part, whole, out=np.zeros(np.shape(whole), np.float64), where=np.asarray(whole) > 0)


def compute_curve(scores: Scores, truth: Truth) -> Curve:
    """Of one label: scores (N,) and truth (N,). Equal scores are one point: no order among them is made up."""
    order = np.argsort(-scores, kind="stable")
    ordered = scores[order]
    last = np.flatnonzero(np.append(np.diff(ordered) != 0, True))[: len(ordered)]
    hits = np.cumsum(truth[order], dtype=np.int64)[last]
    positives = np.full_like(hits, int(truth.sum()))
    return Curve(ordered[last].astype(np.float64), ratio(hits, last + 1), ratio(hits, positives))


def average_precision(scores: Scores, truth: Truth) -> float:
    """Of one label: Σ (Rₙ − Rₙ₋₁) · Pₙ over the curve's points, without interpolation; nan without a positive.

    This is scikit-learn's definition, and without ties that of the papers on multi-label COCO. It is not Pascal VOC's,
    which makes precision monotone first and so gives as much or more.
    """
    if not truth.any():
        return float("nan")
    points = compute_curve(scores, truth)
    return float(np.sum(np.diff(points.recall, prepend=0.0) * points.precision))


def average_precisions(scores: Scores, truth: Truth) -> Floats:
    """(C,): of each label, nan for one that is on no image."""
    return np.array([average_precision(scores[:, label], truth[:, label]) for label in range(truth.shape[1])], float)


def mean_average_precision(scores: Scores, truth: Truth) -> float:
    """mAP: the mean over the labels that are on an image at least; nan if none is."""
    return mean(average_precisions(scores, truth))


def mean(values: Floats) -> float:
    """Of those that are defined; nan if none is."""
    defined = values[~np.isnan(values)]
    return float(defined.mean()) if len(defined) else float("nan")


def tally_labels(said: Truth, truth: Truth) -> Tally:
    """Counts per label; both are (N, C)."""
    return Tally(
        hits=np.sum(said & truth, axis=0, dtype=np.int64),
        false_alarms=np.sum(said & ~truth, axis=0, dtype=np.int64),
        misses=np.sum(~said & truth, axis=0, dtype=np.int64),
    )


def micro_average(counts: Tally) -> Means:
    """Over all pairs of image and label: frequent labels weigh most."""
    summed = Tally(*(each.sum(keepdims=True) for each in (counts.hits, counts.false_alarms, counts.misses)))
    return Means(float(summed.precision[0]), float(summed.recall[0]), float(summed.f1[0]))


def macro_average(counts: Tally) -> Means:
    """The mean over the labels that are on an image at least: each weighs the same.

    F1 is the mean of the labels' F1, as scikit-learn has it, and not the harmonic mean of mean precision and recall.
    """
    there = counts.hits + counts.misses > 0
    if not there.any():
        return Means(float("nan"), float("nan"), float("nan"))
    return Means(*(float(values[there].mean()) for values in (counts.precision, counts.recall, counts.f1)))


def label_accuracy(said: Truth, truth: Truth) -> float:
    """The share of pairs of image and label that are right. Says little beside `silent_accuracy`."""
    return float(np.mean(said == truth)) if truth.size else float("nan")


def silent_accuracy(truth: Truth) -> float:
    """What `label_accuracy` gives to a tagger that never says anything: 96.4 % on COCO's 80 labels."""
    return float(np.mean(~truth)) if truth.size else float("nan")


def top_k_accuracy(scores: Scores, truth: Truth, k: int) -> float:
    """The share of images of which one of the k highest scores is right; of equal scores the first label's counts.

    With fewer than k labels it is 1 for every image that has one.
    """
    if not len(truth):
        return float("nan")
    highest = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return float(np.mean(np.take_along_axis(truth, highest, axis=1).any(axis=1)))


def reliability(confidence: Scores, right: Truth, bins: int = BINS) -> Reliability:
    """Of any number of statements: the confidence 0..1 of each, and whether it was right; shapes are equal."""
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
    """Of each output by itself; large ones of either sign neither overflow nor warn."""
    half = np.asarray(outputs, np.float64) / 2
    probabilities: Floats = (1 + np.tanh(half)) / 2
    return probabilities


def softmax(outputs: Scores) -> Floats:
    """Along the last axis."""
    values = np.asarray(outputs, np.float64)
    powers: Floats = np.exp(values - values.max(axis=-1, keepdims=True))
    powers /= powers.sum(axis=-1, keepdims=True)
    return powers
