"""The figures of one evaluation, how they are computed from scores, and their file `figures.json`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from config.validation import first_problem
from core.errors import WeightsInvalid
from training.fit import metrics
from training.fit.metrics import Means, Reliability, Scores, Tally, Truth

FOLDER = "evaluation"
FIGURES = "figures.json"
REPORT = "report.html"


def _nan_to_none(value: object) -> object:
    """Replace nan by None, because JSON has no nan."""
    return None if isinstance(value, float) and np.isnan(value) else value


Share = Annotated[float | None, BeforeValidator(_nan_to_none)]
"""0..1; None if the figure is undefined (no positive, no photo)."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Triple(_Part):
    """Precision, recall and F1 over all labels, at the thresholds."""

    precision: Share
    recall: Share
    f1: Share


class LabelFigures(_Part):
    """The figures of one label."""

    label: str
    images: int
    """Number of photos that have the label."""
    average_precision: Share
    threshold: float | None
    precision: float
    recall: float
    f1: float
    accuracy: Share = None
    """The share of photos on which the tagger was right to give or not to give the label."""
    silent_accuracy: Share = None
    """The `accuracy` of never giving the label."""


class EvaluationFigures(_Part):
    """The figures of one tagger on one set of photos. `training.fit.metrics` defines them."""

    kind: Literal["multilabel", "single"]
    """single: each photo has one label, and the tagger gives the label with the highest score."""
    images: int
    mAP: Share  # noqa: N815  # its name everywhere
    mAP_of_chance: Share  # noqa: N815
    """The mean share of photos per label, which is the mAP of scores that do not depend on the photo."""
    micro: Triple
    macro: Triple
    label_accuracy: Share
    silent_accuracy: Share
    """The `label_accuracy` of a tagger that gives no labels."""
    calibration_error: Share
    top_1: Share = None
    top_5: Share = None
    top_10: Share = None
    """The top-k accuracies exist only for kind single."""
    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()
    """In the order of the labels; empty for kind single."""
    labels: tuple[LabelFigures, ...]
    skipped: tuple[str, ...] = ()
    """Unreadable photos: `PATH: reason`."""
    weights_sha256: str = ""
    """Hex SHA-256 of the evaluated weights; empty for a tagger."""

    @property
    def metrics(self) -> dict[str, float]:
        """The figures of the tagger as a whole, under the names that a manifest uses."""
        named = {
            "mAP": self.mAP,
            "micro_f1": self.micro.f1,
            "macro_f1": self.macro.f1,
            "label_accuracy": self.label_accuracy,
            "silent_accuracy": self.silent_accuracy,
            "calibration_error": self.calibration_error,
            "top_1": self.top_1,
            "top_5": self.top_5,
            "top_10": self.top_10,
        }
        return {name: value for name, value in named.items() if value is not None}


def evaluate_scores(
    scores: Scores,
    truth: Truth,
    labels: Sequence[str],
    *,
    thresholds: Sequence[float] = (),
    temperature: float = 1.0,
    skipped: Sequence[str] = (),
) -> EvaluationFigures:
    """Compute all figures of probabilities 0..1 (N, C) against truth (N, C) bool.

    With `thresholds` (C,), which must come from other photos, a label is given from its threshold on. Without them each
    photo has one label: the label with the highest score is given, and the figures include the top-k accuracies.
    `temperature` and `skipped` are only recorded. Raises ValueError if the shapes do not match.
    """
    if scores.shape != truth.shape or scores.shape[1:] != (len(labels),):
        raise ValueError(f"scores {scores.shape}, truth {truth.shape} and {len(labels)} labels do not match")
    predicted = select_labels(scores, thresholds)
    counts = metrics.tally_labels(predicted, truth)
    precisions = metrics.average_precisions(scores, truth)
    frequencies = truth.mean(axis=0) if len(truth) else np.zeros(len(labels))
    several = len(thresholds) > 0
    return EvaluationFigures(
        kind="multilabel" if several else "single",
        images=len(truth),
        mAP=metrics.mean(precisions),
        mAP_of_chance=metrics.mean(np.where(frequencies > 0, frequencies, np.nan)),
        micro=_to_triple(metrics.micro_average(counts)),
        macro=_to_triple(metrics.macro_average(counts)),
        label_accuracy=metrics.label_accuracy(predicted, truth),
        silent_accuracy=metrics.silent_accuracy(truth),
        calibration_error=measure_reliability(scores, truth, several=several).error,
        top_1=None if several else metrics.top_k_accuracy(scores, truth, 1),
        top_5=None if several else metrics.top_k_accuracy(scores, truth, 5),
        top_10=None if several else metrics.top_k_accuracy(scores, truth, 10),
        temperature=temperature,
        thresholds=tuple(thresholds),
        labels=_compute_label_figures(labels, counts, precisions.tolist(), thresholds, len(truth)),
        skipped=tuple(skipped),
    )


def select_labels(scores: Scores, thresholds: Sequence[float] = ()) -> Truth:
    """Return which labels the tagger gives, (N, C). Without thresholds, the first one with the highest score."""
    if len(thresholds):
        return np.asarray(scores >= np.asarray(thresholds), np.bool_)
    predicted = np.zeros(scores.shape, np.bool_)
    if predicted.size:
        predicted[np.arange(len(scores)), scores.argmax(axis=1)] = True
    return predicted


def measure_reliability(scores: Scores, truth: Truth, *, several: bool) -> Reliability:
    """Measure how well confidence matches truth, over all pairs of image and label.

    If `several` is False, only each image's highest score counts.
    """
    if several or not scores.size:
        return metrics.reliability(scores, truth)
    predicted = select_labels(scores)
    return metrics.reliability(scores[predicted], truth[predicted])


def read_figures(folder: Path) -> EvaluationFigures:
    """Read the figures of `tagfleet evaluate` from a run's folder. Raises WeightsInvalid if missing or damaged."""
    path = folder / FOLDER / FIGURES
    try:
        return EvaluationFigures.model_validate_json(path.read_bytes())
    except OSError:
        raise WeightsInvalid(f"{folder} is not evaluated yet; run `tagfleet evaluate {folder} SOURCE`") from None
    except ValidationError as error:
        raise WeightsInvalid(
            f"{path} is not a file of figures: {first_problem(error)}; run `tagfleet evaluate {folder} SOURCE` again"
        ) from None


def _to_triple(means: Means) -> Triple:
    return Triple(precision=means.precision, recall=means.recall, f1=means.f1)


def _compute_label_figures(
    labels: Sequence[str], counts: Tally, precisions: Sequence[float], thresholds: Sequence[float], photos: int
) -> tuple[LabelFigures, ...]:
    def share_without(wrong: int) -> float | None:
        return 1 - wrong / photos if photos else None

    return tuple(
        LabelFigures(
            label=label,
            images=int(counts.hits[index] + counts.misses[index]),
            average_precision=precisions[index],
            threshold=thresholds[index] if len(thresholds) else None,
            precision=float(counts.precision[index]),
            recall=float(counts.recall[index]),
            f1=float(counts.f1[index]),
            accuracy=share_without(int(counts.false_alarms[index] + counts.misses[index])),
            silent_accuracy=share_without(int(counts.hits[index] + counts.misses[index])),
        )
        for index, label in enumerate(labels)
    )
