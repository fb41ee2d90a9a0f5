"""Render an evaluation: an HTML page, a JSON file for programs, and rows for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from core.reports.page import build_page
from core.reports.plot import draw_svg, escape_formula
from core.reports.table import build_table
from training.data import files
from training.evaluate.evaluating import Evaluation
from training.evaluate.evaluation import FIGURES, REPORT, EvaluationFigures, measure_reliability, select_labels
from training.fit import metrics
from training.fit.metrics import Counts, Truth

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LABEL_HEADINGS = (
    "label",
    "images",
    "average precision",
    "threshold",
    "precision",
    "recall",
    "F1",
    "accuracy",
    "saying nothing",
)
_CURVES = 8
"""Maximum number of curves; more are indistinguishable."""
_MATRIX = 20
"""Maximum number of labels in the matrix; the most frequent ones are shown."""
_BARS = 80
"""Maximum number of bars."""


def write(evaluation: Evaluation, folder: Path) -> None:
    """Write `report.html` and `figures.json`. Raises TrainingStopped if that fails."""
    files.make_folder(folder)
    files.write(folder / FIGURES, evaluation.figures.model_dump_json(indent=1).encode() + b"\n")
    files.write(folder / REPORT, build_page(f"Evaluation of {evaluation.name}", _render_body(evaluation)).encode())


def list_figures(figures: EvaluationFigures) -> Iterator[tuple[str, str]]:
    """Yield name and value of each figure, for people."""
    yield "images", str(figures.images)
    if figures.kind == "single":
        for name, value in (("top-1", figures.top_1), ("top-5", figures.top_5), ("top-10", figures.top_10)):
            yield name, _format_percent(value)
    yield "mAP", f"{_format_percent(figures.mAP)} (chance: {_format_percent(figures.mAP_of_chance)})"
    for name, mean in (("micro", figures.micro), ("macro", figures.macro)):
        values = f"{_format_percent(mean.precision)}, {_format_percent(mean.recall)}, {_format_percent(mean.f1)}"
        yield f"{name} precision, recall, F1", values
    accuracy = f"{_format_percent(figures.label_accuracy)} (saying nothing: {_format_percent(figures.silent_accuracy)})"
    yield "per-label accuracy", accuracy
    yield "expected calibration error", _format_percent(figures.calibration_error)
    if figures.kind == "multilabel":
        yield "temperature", f"{figures.temperature:.3f}"
    if figures.skipped:
        yield "unreadable", f"{len(figures.skipped)} images"


def count_confusions(predicted: Truth, truth: Truth, chosen: Sequence[int]) -> Counts:
    """Return the confusion matrix (K, K) of the labels `chosen`: rows are true labels, columns are given labels.

    The diagonal counts hits. Other cells count images on which the row's label was missed and the column's label was
    given wrongly; with one label per image, that is the label given in its place.
    """
    labels = list(chosen)
    missed, wrong = (truth & ~predicted)[:, labels].astype(np.int64), (predicted & ~truth)[:, labels].astype(np.int64)
    found: Counts = missed.T @ wrong
    np.fill_diagonal(found, (truth & predicted)[:, labels].sum(axis=0))
    return found


def _render_body(evaluation: Evaluation) -> Iterator[str]:
    figures = evaluation.figures
    yield f"<p>On {escape(evaluation.dataset)}.</p>"
    yield build_table(list_figures(figures), ("figure", "value"))
    yield draw_svg(10, 4, lambda figure: _draw_curves(figure, evaluation))
    yield "<h2>Labels</h2>"
    yield draw_svg(10, 3.5, lambda figure: _draw_bars(figure, figures))
    yield "<h2>Confusion</h2>"
    if figures.kind == "multilabel":
        yield "<p>Row: missed label; column: label given wrongly to the same image; diagonal: hits.</p>"
    else:
        yield "<p>Row: true label; column: given label.</p>"
    yield draw_svg(10, 7, lambda figure: _draw_confusion(figure, evaluation))
    yield "<h2>Each label</h2>"
    yield build_table(
        [
            (
                label.label,
                label.images,
                _format_percent(label.average_precision),
                "" if label.threshold is None else f"{label.threshold:.3f}",
                _format_percent(label.precision),
                _format_percent(label.recall),
                _format_percent(label.f1),
                _format_percent(label.accuracy),
                _format_percent(label.silent_accuracy),
            )
            for label in figures.labels
        ],
        _LABEL_HEADINGS,
    )
    if figures.skipped:
        yield f"<h2>{len(figures.skipped)} unreadable images</h2>"
        yield build_table([(problem,) for problem in figures.skipped], ("image and reason",))


def _draw_curves(figure: Figure, evaluation: Evaluation) -> None:
    precision, calibration = figure.subplots(1, 2)
    scores, truth, labels = evaluation.scores, evaluation.truth, evaluation.figures.labels
    everything = metrics.compute_curve(np.ravel(scores), np.ravel(truth))
    precision.plot(everything.recall, everything.precision, color="black", linewidth=2, label="all labels")
    for index in _most_frequent(truth, _CURVES):
        points = metrics.compute_curve(scores[:, index], truth[:, index])
        precision.step(
            points.recall, points.precision, where="post", label=escape_formula(labels[index].label), alpha=0.8
        )
    precision.set(title="precision and recall", xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    precision.legend(fontsize=7)
    found = measure_reliability(scores, truth, several=evaluation.figures.kind == "multilabel")
    some = found.count > 0
    calibration.plot([0, 1], [0, 1], color="grey", linestyle=":")
    calibration.plot(found.confidence[some], found.right[some], marker="o", color="#2f7d57")
    calibration.set(title="calibration", xlabel="confidence", ylabel="share that was right", xlim=(0, 1), ylim=(0, 1))
    for axes in (precision, calibration):
        axes.grid(alpha=0.3)


def _draw_bars(figure: Figure, figures: EvaluationFigures) -> None:
    axes: Axes = figure.subplots()
    found = [(label.average_precision, label.label) for label in figures.labels if label.average_precision is not None]
    found = sorted(found, reverse=True)
    title = "average precision"
    if len(found) > _BARS:
        title += f", the best and the worst {_BARS // 2}"
        found = found[: _BARS // 2] + found[-_BARS // 2 :]
    axes.bar(range(len(found)), [value for value, _ in found], color="#2f7d57")
    axes.set_xticks(range(len(found)), [escape_formula(label) for _, label in found], rotation=90, fontsize=6)
    axes.set(title=title, ylim=(0, 1))
    axes.grid(alpha=0.3, axis="y")


def _draw_confusion(figure: Figure, evaluation: Evaluation) -> None:
    axes: Axes = figure.subplots()
    chosen = _most_frequent(evaluation.truth, _MATRIX)
    found = count_confusions(select_labels(evaluation.scores, evaluation.figures.thresholds), evaluation.truth, chosen)
    there = np.maximum(evaluation.truth[:, chosen].sum(axis=0), 1)
    names = [escape_formula(evaluation.figures.labels[index].label) for index in chosen]
    axes.imshow(found / there[:, None], cmap="Greens", vmin=0, vmax=1)
    axes.set_xticks(range(len(names)), names, rotation=90)
    axes.set_yticks(range(len(names)), names)
    for row, column in np.argwhere(found):
        dark = found[row, column] > there[row] / 2
        axes.text(column, row, str(found[row, column]), ha="center", va="center", color="white" if dark else "black")


def _most_frequent(truth: Truth, most: int) -> list[int]:
    """Return up to `most` labels that an image has, the most frequent first."""
    counts = truth.sum(axis=0)
    order = np.argsort(-counts, kind="stable")[:most]
    return [int(index) for index in order if counts[index]]


def _format_percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f} %"
