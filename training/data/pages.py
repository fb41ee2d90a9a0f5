"""HTML pages that need nothing else, and plots within them as SVG. matplotlib is imported when one is drawn."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Sequence
from html import escape
from io import StringIO
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 66rem; padding: 0 1rem; color: #1d2733 }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { border-bottom: 1px solid #d5dbe3; padding: .25rem 1rem .25rem 0; text-align: left; vertical-align: top }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums }
svg { width: 100%; height: auto }
figure { display: inline-block; margin: 0 1rem 1rem 0; vertical-align: top }
figure img { height: 9rem; margin-right: .5rem }
.bad { color: #a3261b }
"""


def page(title: str, body: Iterable[str]) -> str:
    """`body` is HTML, `title` is text."""
    head = f'<meta charset="utf-8"><title>{escape(title)}</title><style>{STYLE}</style>'
    lines = "\n".join(body)
    return (
        f'<!doctype html><html lang="en"><head>{head}</head><body><h1>{escape(title)}</h1>\n{lines}\n</body></html>\n'
    )


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Numbers stand to the right; everything else is text."""
    titles = "".join(f"<th>{escape(title)}</th>" for title in head)
    lines = (f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return "\n".join(("<table>", f"<tr>{titles}</tr>", *lines, "</table>"))


def plain(text: str) -> str:
    """Text for a plot in which no dollar begins a formula."""
    return text.replace("$", r"\$")


def svg(width: float, height: float, draw: Callable[[Figure], None]) -> str:
    """What `draw` puts on a figure of so many inches."""
    import matplotlib
    from matplotlib.figure import Figure

    with (
        matplotlib.rc_context({"svg.fonttype": "none", "font.size": 9, "svg.hashsalt": "tagfleet"}),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Glyph .* missing")  # the browser has fonts that matplotlib has not
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure)
        out = StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def _cell(value: object) -> str:
    number = isinstance(value, int | float)
    return f"<td{' class=number' if number else ''}>{escape(str(value))}</td>"
