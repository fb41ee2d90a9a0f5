"""The figures of one evaluation: how good a tagger is on photos that it has never seen."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from config.validation import first_problem
from core.errors import WeightsInvalid
from training import metrics
from training.metrics import Means, Reliability, Scores, Tally, Truth

FOLDER = "evaluation"
FIGURES = "figures.json"
REPORT = "report.html"


def _defined(value: object) -> object:
    """JSON has no nan: an undefined figure is null."""
    return None if isinstance(value, float) and np.isnan(value) else value


Share = Annotated[float | None, BeforeValidator(_defined)]
"""0..1; None where the figure is not defined (no positive, no photo)."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Triple(_Part):
    """Precision, recall and F1 over all labels at the thresholds."""

    precision: Share
    recall: Share
    f1: Share


class LabelFigures(_Part):
    """The figures of one label."""

    label: str
    images: int
    """Number of photos that show it."""
    average_precision: Share
    threshold: float | None
    precision: float
    recall: float
    f1: float
    accuracy: Share = None
    """The share of photos on which its presence or absence was right."""
    silent_accuracy: Share = None
    """The `accuracy` if the label were never given."""


class Figures(_Part):
    """One tagger on one set of photos. `training.metrics` defines each figure."""

    kind: Literal["multilabel", "single"]
    """single: each photo has one label, and the tagger gives the label of the highest score."""
    images: int
    mAP: Share  # noqa: N815  # its name everywhere
    mAP_of_chance: Share  # noqa: N815
    """The mean share of photos that show a label: the mAP of random scores."""
    micro: Triple
    macro: Triple
    label_accuracy: Share
    silent_accuracy: Share
    """The `label_accuracy` of a tagger that never gives a tag."""
    calibration_error: Share
    top_1: Share = None
    top_5: Share = None
    top_10: Share = None
    """Only for kind single."""
    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()
    """In the order of the labels; empty for kind single."""
    labels: tuple[LabelFigures, ...]
    skipped: tuple[str, ...] = ()
    """Photos that could not be read."""
    weights_sha256: str = ""
    """Hash of the evaluated file."""

    @property
    def metrics(self) -> dict[str, float]:
        """The figures of the tagger as a whole, by their names in a manifest."""
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
) -> Figures:
    """Compute all figures of probabilities 0..1 (N, C) against truth (N, C) bool.

    With `thresholds` (C,), chosen on other photos, each label is given from its threshold on. Without them each photo
    has one label: that of the highest score is given, and the top-k shares are computed. `temperature` and `skipped`
    are only recorded. Raises ValueError if the shapes do not fit.
    """
    if scores.shape != truth.shape or scores.shape[1:] != (len(labels),):
        raise ValueError(f"scores {scores.shape}, truth {truth.shape} and {len(labels)} labels do not fit")
    said = spoken(scores, thresholds)
    counts = metrics.tally(said, truth)
    precisions = metrics.average_precisions(scores, truth)
    frequencies = truth.mean(axis=0) if len(truth) else np.zeros(len(labels))
    several = len(thresholds) > 0
    return Figures(
        kind="multilabel" if several else "single",
        images=len(truth),
        mAP=metrics.mean(precisions),
        mAP_of_chance=metrics.mean(np.where(frequencies > 0, frequencies, np.nan)),
        micro=_triple(metrics.micro(counts)),
        macro=_triple(metrics.macro(counts)),
        label_accuracy=metrics.label_accuracy(said, truth),
        silent_accuracy=metrics.silent_accuracy(truth),
        calibration_error=statements(scores, truth, several=several).error,
        top_1=None if several else metrics.top_k(scores, truth, 1),
        top_5=None if several else metrics.top_k(scores, truth, 5),
        top_10=None if several else metrics.top_k(scores, truth, 10),
        temperature=temperature,
        thresholds=tuple(thresholds),
        labels=_of_labels(labels, counts, precisions.tolist(), thresholds, len(truth)),
        skipped=tuple(skipped),
    )


def spoken(scores: Scores, thresholds: Sequence[float] = ()) -> Truth:
    """Return the tags given, (N, C). Without thresholds it is the label of the highest score, the first of equals."""
    if len(thresholds):
        return np.asarray(scores >= np.asarray(thresholds), np.bool_)
    said = np.zeros(scores.shape, np.bool_)
    if said.size:
        said[np.arange(len(scores)), scores.argmax(axis=1)] = True
    return said


def statements(scores: Scores, truth: Truth, *, several: bool) -> Reliability:
    """Compare confidence with truth, for every pair of image and label or only for each image's highest score."""
    if several or not scores.size:
        return metrics.reliability(scores, truth)
    said = spoken(scores)
    return metrics.reliability(scores[said], truth[said])


def read(folder: Path) -> Figures:
    """Read what `tagfleet evaluate` wrote into a run's folder. Raises WeightsInvalid if it is missing or damaged."""
    path = folder / FOLDER / FIGURES
    try:
        return Figures.model_validate_json(path.read_bytes())
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
