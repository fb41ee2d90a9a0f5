"""Plots of a trace under several policies: the queue, the workers, the cost so far and the waits."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import accumulate, pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from controller.simulation.compare import OURS, Row

_POINTS = 240
"""Of a line: a plot of a day must not hold every tick of it."""
_COLOURS = ("#d62728", "#7f7f7f", "#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd")


def png(rows: Sequence[Row], *, dpi: int = 100) -> bytes:
    """With a palette: lines need few colours."""
    written = io.BytesIO()
    with Image.open(io.BytesIO(_drawn(rows, "png", dpi))) as image:
        image.convert("RGB").quantize(48).save(written, "png", optimize=True)
    return written.getvalue()


def svg(rows: Sequence[Row]) -> str:
    """Without the XML's head, to stand in a page."""
    text = _drawn(rows, "svg", 72).decode()
    return text[text.index("<svg") :]


def _drawn(rows: Sequence[Row], format: str, dpi: int) -> bytes:
    figure = Figure(figsize=(11, 5.2), layout="constrained")
    axes = figure.subplots(2, 2)
    for row, colour in zip(rows, _COLOURS * (1 + len(rows) // len(_COLOURS)), strict=False):
        style = {"color": colour, "linewidth": 1.8 if row.run.policy == OURS else 1.0, "label": row.run.policy}
        moments = row.run.snapshots
        hours = [moment.at / 3600 for moment in moments]
        _line(axes[0][0], hours, [moment.waiting + moment.in_flight for moment in moments], style)
        _line(axes[0][1], hours, [moment.billed for moment in moments], style)
        _line(axes[1][0], hours, _spent(row), style)
        _waits(axes[1][1], row, style)
    for axis, title, unit in zip(
        axes.flat,
        ("queue", "instances", "cost so far", "waits"),
        ("images", "", "$", "share waiting longer"),
        strict=True,
    ):
        axis.set_title(title, fontsize=10)
        axis.set_ylabel(unit, fontsize=8)
        axis.set_xlabel("seconds" if title == "waits" else "hours", fontsize=8)
        axis.tick_params(labelsize=8)
    axes[0][0].legend(fontsize=8)
    written = io.BytesIO()
    figure.savefig(written, format=format, dpi=dpi, metadata={"Date": None} if format == "svg" else None)
    return written.getvalue()


def _line(axis: Axes, x: Sequence[float], y: Sequence[float], style: dict[str, object]) -> None:
    every = max(1, len(x) // _POINTS)
    axis.plot(x[::every], y[::every], **style)  # type: ignore[arg-type]  # keywords of a line


def _spent(row: Row) -> list[float]:
    """Grows with the instances, and ends at what the run really cost."""
    moments = row.run.snapshots
    seconds = list(accumulate((b.at - a.at) * a.billed for a, b in pairwise(moments))) or [0.0]
    scale = row.metrics.cost / seconds[-1] if seconds[-1] else 0.0
    return [0.0] * (len(moments) - len(seconds)) + [value * scale for value in seconds]


def _waits(axis: Axes, row: Row, style: dict[str, object]) -> None:
    ordered = sorted(row.run.waits)
    total = max(1, sum(count for _, count in ordered))
    longer = [1 - seen / total for seen in accumulate(count for _, count in ordered)]
    _line(axis, [wait for wait, _ in ordered], longer, style)
    axis.set_yscale("symlog", linthresh=0.01)
    axis.set_ylim(0, 1)
