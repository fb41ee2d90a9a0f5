"""Lay a comparison out: a table for a terminal, one for the documentation, and a page of HTML with plots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from rich.table import Table

from controller.simulation.compare import OURS, Row, verdicts
from core.reports.page import build_page
from core.reports.table import build_table

HEADINGS = (
    "trace",
    "policy",
    "mean s",
    "p50 s",
    "p95 s",
    "p99 s",
    "max s",
    "$",
    "$/1,000",
    "× clairvoyant",
    "launched",
    "peak",
    "under",
    "over",
    "time under",
    "time over",
    "instability",
)
LEGEND = (
    "Waits run from an image's arrival to its result. × clairvoyant: cost in relation to the cheapest plan found of "
    "somebody who knows all arrivals and has the same p95 wait. Under, over: SPEC's provisioning accuracies, missing "
    "and surplus workers in relation to the demand; time under, time over: shares of the time in which workers were "
    "missing or too many; instability: share of the time in which supply and demand did not move together."
)


def cells(row: Row) -> tuple[str, ...]:
    f, e = row.metrics, row.metrics.elasticity
    return (
        row.trace,
        row.run.policy,
        *(f"{wait:,.1f}" for wait in (f.mean, f.p50, f.p95, f.p99, f.most)),
        f"{f.cost:.3f}",
        f"{f.per_thousand:.4f}",
        f"{row.ratio:.2f}",
        str(f.launched),
        str(f.peak),
        f"{e.under:.2f}",
        f"{e.over:.2f}",
        f"{e.under_time:.0%}",
        f"{e.over_time:.0%}",
        f"{e.instability:.0%}",
    )


def table(rows: Sequence[Row]) -> Table:
    made = Table(caption=LEGEND, caption_justify="left")
    for number, heading in enumerate(HEADINGS):
        made.add_column(heading, justify="left" if number < 2 else "right")
    for number, row in enumerate(rows):
        last = number + 1 == len(rows) or rows[number + 1].trace != row.trace
        made.add_row(*cells(row), style="bold" if row.run.policy == OURS else None, end_section=last)
    return made


def markdown(rows: Sequence[Row]) -> str:
    """Return a Markdown table; our own policy is in bold."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---|---|" + "--:|" * (len(HEADINGS) - 2)]
    for row in rows:
        mark = "**" if row.run.policy == OURS else ""
        lines.append("| " + " | ".join(f"{mark}{cell}{mark}" for cell in cells(row)) + " |")
    return "\n".join(lines)


def said(rows: Sequence[Row]) -> list[str]:
    """Return the verdicts, each with whether it holds."""
    return [f"{'holds' if holds else 'MISSED'}: {text}" for holds, text in verdicts(rows)]


def page(rows: Sequence[Row], plots: Mapping[str, str], subtitle: str) -> str:
    """Return a page of HTML that needs nothing else; `plots` are SVG by trace."""
    ours = [row.run.policy == OURS for row in rows]
    verdict_items = "".join(f"<li>{escape(text)}</li>" for text in said(rows))
    return build_page(
        "Elasticity",
        [
            f"<p>{escape(subtitle)}</p><ul>{verdict_items}</ul>",
            build_table(map(cells, rows), HEADINGS, numbers_from=2, is_strong=ours.__getitem__),
            f"<p>{escape(LEGEND)}</p>",
            *(f"<h2>{escape(trace)}</h2>{svg}" for trace, svg in plots.items()),
        ],
    )
