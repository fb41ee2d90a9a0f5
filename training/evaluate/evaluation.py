"""What a tagger is worth on photos that it has never seen: the figures of one evaluation, for programs and people."""

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


def _defined(value: object) -> object:
    """JSON has no nan: what is not defined is null there."""
    return None if isinstance(value, float) and np.isnan(value) else value


Share = Annotated[float | None, BeforeValidator(_defined)]
"""0..1; None where the figure is not defined (no positive, no photo)."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Triple(_Part):
    """Precision, recall and F1 over all labels, at the thresholds."""

    precision: Share
    recall: Share
    f1: Share


class LabelFigures(_Part):
    """Of one label."""

    label: str
    images: int
    """On how many of the photos it is."""
    average_precision: Share
    threshold: float | None
    precision: float
    recall: float
    f1: float
    accuracy: Share = None
    """The share of photos on which it was rightly said or rightly not."""
    silent_accuracy: Share = None
    """What `accuracy` would be if it were never said."""


class EvaluationFigures(_Part):
    """Of one tagger on one set of photos. For what each figure means: `training.fit.metrics`."""

    kind: Literal["multilabel", "single"]
    """single: each photo has one label, and what is said is the label of the highest score."""
    images: int
    mAP: Share  # noqa: N815  # its name everywhere
    mAP_of_chance: Share  # noqa: N815
    """The share of photos that each label is on, averaged: the mAP of scores that know nothing of the photo."""
    micro: Triple
    macro: Triple
    label_accuracy: Share
    silent_accuracy: Share
    """What `label_accuracy` would be for a tagger that never says anything."""
    calibration_error: Share
    top_1: Share = None
    top_5: Share = None
    top_10: Share = None
    """Only of kind single."""
    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()
    """In the order of the labels; empty for kind single."""
    labels: tuple[LabelFigures, ...]
    skipped: tuple[str, ...] = ()
    """Photos that could not be read."""
    weights_sha256: str = ""
    """Of the file that was evaluated."""

    @property
    def metrics(self) -> dict[str, float]:
        """Those that describe the tagger as a whole, by name, as a manifest has them."""
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
    """All figures of probabilities 0..1 (N, C) against truth (N, C) bool.

    With `thresholds` (C,), chosen elsewhere than on these photos, each label is said from its threshold on. Without
    them each photo has one label: that of the highest score is said, and the top-k shares are figured.
    `temperature` and `skipped` are only recorded. Raises ValueError if the shapes do not fit.
    """
    if scores.shape != truth.shape or scores.shape[1:] != (len(labels),):
        raise ValueError(f"scores {scores.shape}, truth {truth.shape} and {len(labels)} labels do not fit")
    said = select_labels(scores, thresholds)
    counts = metrics.tally_labels(said, truth)
    precisions = metrics.average_precisions(scores, truth)
    frequencies = truth.mean(axis=0) if len(truth) else np.zeros(len(labels))
    several = len(thresholds) > 0
    return EvaluationFigures(
        kind="multilabel" if several else "single",
        images=len(truth),
        mAP=metrics.mean(precisions),
        mAP_of_chance=metrics.mean(np.where(frequencies > 0, frequencies, np.nan)),
        micro=_triple(metrics.micro_average(counts)),
        macro=_triple(metrics.macro_average(counts)),
        label_accuracy=metrics.label_accuracy(said, truth),
        silent_accuracy=metrics.silent_accuracy(truth),
        calibration_error=measure_reliability(scores, truth, several=several).error,
        top_1=None if several else metrics.top_k_accuracy(scores, truth, 1),
        top_5=None if several else metrics.top_k_accuracy(scores, truth, 5),
        top_10=None if several else metrics.top_k_accuracy(scores, truth, 10),
        temperature=temperature,
        thresholds=tuple(thresholds),
        labels=_of_labels(labels, counts, precisions.tolist(), thresholds, len(truth)),
        skipped=tuple(skipped),
    )


def select_labels(scores: Scores, thresholds: Sequence[float] = ()) -> Truth:
    """(N, C): what is said. Without thresholds the label of the highest score, of equal ones the first."""
    if len(thresholds):
        return np.asarray(scores >= np.asarray(thresholds), np.bool_)
    said = np.zeros(scores.shape, np.bool_)
    if said.size:
        said[np.arange(len(scores)), scores.argmax(axis=1)] = True
    return said


def measure_reliability(scores: Scores, truth: Truth, *, several: bool) -> Reliability:
    """How confidence and truth agree: of every pair of image and label, or of each image's highest score alone."""
    if several or not scores.size:
        return metrics.reliability(scores, truth)
    said = select_labels(scores)
    return metrics.reliability(scores[said], truth[said])


def read_figures(folder: Path) -> EvaluationFigures:
    """What `tagfleet evaluate` left in a run's folder. Raises WeightsInvalid if nothing is there, or it is damaged."""
    path = folder / FOLDER / FIGURES
    try:
        return EvaluationFigures.model_validate_json(path.read_bytes())
    except OSError:
        raise WeightsInvalid(f"{folder} was not evaluated yet: `tagfleet evaluate {folder} SOURCE` does it") from None
    except ValidationError as error:
        raise WeightsInvalid(f"{path} holds no figures of an evaluation: {first_problem(error)}") from None


def _triple(means: Means) -> Triple:
    return Triple(precision=means.precision, recall=means.recall, f1=means.f1)


def _of_labels(
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
