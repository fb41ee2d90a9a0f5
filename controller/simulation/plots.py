"""Plot a trace under several policies: the queue, the instances, the cost so far and the waits."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import accumulate, pairwise

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from controller.simulation.compare import OURS, Row
from core.reports.plot import draw_svg, escape_formula

_INCHES = (11, 5.2)
_POINTS = 240
"""Points of a line at most: a plot of a day must not hold every tick."""
_COLOURS = ("#d62728", "#7f7f7f", "#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd")


def png(rows: Sequence[Row], *, dpi: int = 100) -> bytes:
    """Return the plots as a PNG with a palette: lines need few colours."""
    figure, drawn, written = Figure(figsize=_INCHES, layout="constrained"), io.BytesIO(), io.BytesIO()
    _draw(figure, rows)
    figure.savefig(drawn, format="png", dpi=dpi)
    with Image.open(drawn) as image:
        image.convert("RGB").quantize(48).save(written, "png", optimize=True)
    return written.getvalue()


def svg(rows: Sequence[Row]) -> str:
    """Return the plots as SVG for a page."""
    return draw_svg(*_INCHES, lambda figure: _draw(figure, rows))


def _draw(figure: Figure, rows: Sequence[Row]) -> None:
    axes = figure.subplots(2, 2)
    for row, colour in zip(rows, _COLOURS * (1 + len(rows) // len(_COLOURS)), strict=False):
        style = {"color": colour, "linewidth": 1.8 if row.run.policy == OURS else 1.0, "label": row.run.policy}
        snapshots = row.run.snapshots
        hours = [snapshot.at / 3600 for snapshot in snapshots]
        _line(axes[0][0], hours, [snapshot.waiting + snapshot.in_flight for snapshot in snapshots], style)
        _line(axes[0][1], hours, [snapshot.billed for snapshot in snapshots], style)
        _line(axes[1][0], hours, _spent(row), style)
        _waits(axes[1][1], row, style)
    for axis, title, unit in zip(
        axes.flat,
        ("queue", "instances", "cost so far", "waits"),
        ("images", "", "$", "share waiting longer"),
        strict=True,
    ):
        axis.set_title(title, fontsize=10)
        axis.set_ylabel(escape_formula(unit), fontsize=8)
        axis.set_xlabel("seconds" if title == "waits" else "hours", fontsize=8)
        axis.tick_params(labelsize=8)
    axes[0][0].legend(fontsize=8)


def _line(axis: Axes, x: Sequence[float], y: Sequence[float], style: dict[str, object]) -> None:
    every = max(1, len(x) // _POINTS)
    axis.plot(x[::every], y[::every], **style)  # type: ignore[arg-type]  # keywords of a line


def _spent(row: Row) -> list[float]:
    """The cost so far: it grows with the instances and ends at what the run really cost."""
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
