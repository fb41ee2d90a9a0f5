"""Lay out what `tagfleet data check` found as one HTML page."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterator
from html import escape
from io import BytesIO
from typing import TYPE_CHECKING

from core.errors import BadImage
from core.imaging.decode import DecodeBudget, Decoder
from core.reports.page import build_page
from core.reports.plot import draw_svg, escape_formula
from core.reports.table import build_table
from training.data.check import Check, Pair

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_FINDINGS = 500
_MOST_PAIRS = 40
_MOST_NAMES = 120
"""Most labels below a plot: more would be unreadable."""
_SIDE = 160
_DECODE_MB = 600
_COLOURS = ("#2f7d57", "#f2c14e", "#f78154")


def build_html(found: Check) -> str:
    """Return the page, with leaks and copies as pictures."""
    return build_page(f"Data check: {found.dataset.name}", _render_body(found))


def _render_body(found: Check) -> Iterator[str]:
    dataset = found.dataset
    yield f"<p>{len(dataset.examples)} images, {len(dataset.labels)} labels, from {escape(str(dataset.root))}.</p>"
    if found.parts:
        yield f"<p>Split: {', '.join(f'{name} {images}' for name, images in found.parts)}.</p>"
    leaks = [pair for pair in found.pairs if pair.leaks]
    if leaks:
        yield f'<p class="bad">{len(leaks)} copies are in another part of the split than their original.</p>'
    if not found.findings:
        yield "<p>No problems found.</p>"
    else:
        kinds = Counter((finding.level, finding.kind) for finding in found.findings)
        yield build_table([(*kind, count) for kind, count in sorted(kinds.items())], ("level", "what", "times"))
    yield draw_svg(10, _compute_height(found), lambda figure: _draw(figure, found))
    if found.pairs:
        yield "<h2>Copies</h2>"
        for pair in sorted(found.pairs, key=lambda pair: not pair.leaks)[:_MOST_PAIRS]:
            yield _render_pair(found, pair)
        if len(found.pairs) > _MOST_PAIRS:
            yield f"<p>and {len(found.pairs) - _MOST_PAIRS} more.</p>"
    if found.findings:
        yield "<h2>Findings</h2>"
        ordered = sorted(found.findings, key=lambda finding: finding.level)
        rows = [(finding.level, finding.kind, finding.where, finding.text) for finding in ordered[:_MOST_FINDINGS]]
        yield build_table(rows, ("level", "what", "where", ""))
        if len(ordered) > _MOST_FINDINGS:
            yield f"<p>and {len(ordered) - _MOST_FINDINGS} more in check.json.</p>"
    yield "<h2>Labels</h2>"
    names = tuple(name for name, _ in found.parts)
    rows_of_labels = [(one.label, one.images, *one.parts) for one in sorted(found.labels, key=lambda one: -one.images)]
    yield build_table(rows_of_labels, ("label", "images", *names))


def _compute_height(found: Check) -> float:
    return 3.2 + min(len(found.labels), _MOST_NAMES) * 0.14


def _draw(figure: Figure, found: Check) -> None:
    grid = figure.add_gridspec(2, 2, height_ratios=[2.8, _compute_height(found) - 2.8])
    _draw_several(figure.add_subplot(grid[0, 0]), found)
    _draw_sizes(figure.add_subplot(grid[0, 1]), found)
    _draw_labels(figure.add_subplot(grid[1, :]), found)


def _draw_several(axes: Axes, found: Check) -> None:
    axes.set_title("images by number of labels")
    axes.bar(range(len(found.per_image)), found.per_image, color=_COLOURS[0])
    axes.set_xlabel("labels on one image")
    axes.locator_params(axis="x", integer=True)
    axes.grid(axis="y", alpha=0.3)


def _draw_sizes(axes: Axes, found: Check) -> None:
    axes.set_title("sizes")
    sizes = Counter(found.sizes)
    if sizes:
        widths, heights = zip(*sizes, strict=True)
        axes.scatter(widths, heights, s=[8 + 2 * count for count in sizes.values()], alpha=0.5, color=_COLOURS[0])
    axes.set_xlabel("width, pixels")
    axes.set_ylabel("height, pixels")
    axes.set_xlim(left=0)
    axes.set_ylim(bottom=0)
    axes.grid(alpha=0.3)


def _draw_labels(axes: Axes, found: Check) -> None:
    """The most frequent label on top, with a colour for each part of a split."""
    ordered = sorted(found.labels, key=lambda one: -one.images)[:_MOST_NAMES]
    rest = len(found.labels) - len(ordered)
    axes.set_title("images by label" + (f", the {len(ordered)} most frequent" if rest else ""))
    names = [name for name, _ in found.parts] or ["images"]
    counts = [one.parts or (one.images,) for one in ordered]
    rows = range(len(ordered))
    left = [0] * len(ordered)
    for number, name in enumerate(names):
        widths = [count[number] for count in counts]
        axes.barh(rows, widths, left=left, label=name, color=_COLOURS[number])
        left = [start + width for start, width in zip(left, widths, strict=True)]
    axes.set_yticks(rows, [escape_formula(one.label) for one in ordered])
    axes.set_ylim(len(ordered) - 0.5, -0.5)
    axes.grid(axis="x", alpha=0.3)
    if found.parts:
        axes.legend(loc="lower right")


def _render_pair(found: Check, pair: Pair) -> str:
    pictures = "".join(_render_picture(found, name) for name in (pair.first, pair.second))
    captions = [
        f"{name} ({part})" if part else name for name, part in zip((pair.first, pair.second), pair.parts, strict=True)
    ]
    text = escape(f"{captions[0]} and {captions[1]}: {pair.how}")
    return f"<figure>{pictures}<figcaption{' class=bad' if pair.leaks else ''}>{text}</figcaption></figure>"


def _render_picture(found: Check, name: str) -> str:
    try:
        image = Decoder(_SIDE, DecodeBudget(_DECODE_MB)).show((found.dataset.root / name).read_bytes())
    except (BadImage, OSError):  # it was removed or changed after the check
        return ""
    image.thumbnail((2 * _SIDE, 2 * _SIDE))
    out = BytesIO()
    image.save(out, format="JPEG", quality=80)
    return f'<img alt="{escape(name)}" src="data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}">'
