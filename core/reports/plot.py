"""Draws plots as SVG for an HTML page. Drawing imports matplotlib."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from io import StringIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_POINTS = 400


def draw_svg(width: float, height: float, draw: Callable[[Figure], None]) -> str:
    """Let `draw` fill a figure of this size in inches; return its SVG. The same plot always gives the same bytes."""
    import matplotlib
    from matplotlib.figure import Figure

    with (
        matplotlib.rc_context({"svg.fonttype": "none", "font.size": 9, "svg.hashsalt": "tagfleet"}),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser has fonts that matplotlib lacks
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        out = StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def escape_formula(text: str) -> str:
    """Return the text for a plot, with dollars escaped: matplotlib takes them for formulas."""
    return text.replace("$", r"\$")


def thin_points(points: Sequence[tuple[float, float]], most: int = _POINTS) -> list[tuple[float, float]]:
    """Return `most` of the points at most, always with the first and the last."""
    if len(points) <= most:
        return list(points)
    step = len(points) / (most - 1)
    return [points[int(number * step)] for number in range(most - 1)] + [points[-1]]
