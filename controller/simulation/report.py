"""The comparison as tables: for a terminal, for a page of documentation, for a self-contained page with its plots."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

from rich.table import Table

from controller.simulation.compare import OURS, Row, verdicts

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
    """A table; ours is in bold."""
    lines = ["| " + " | ".join(HEADINGS) + " |", "|---|---|" + "--:|" * (len(HEADINGS) - 2)]
    for row in rows:
        mark = "**" if row.run.policy == OURS else ""
        lines.append("| " + " | ".join(f"{mark}{cell}{mark}" for cell in cells(row)) + " |")
    return "\n".join(lines)


def said(rows: Sequence[Row]) -> list[str]:
    """The verdicts, each with whether it holds."""
    return [f"{'holds' if holds else 'MISSED'}: {text}" for holds, text in verdicts(rows)]


def page(rows: Sequence[Row], plots: Mapping[str, str], subtitle: str) -> str:
    """A page of HTML that needs nothing else; `plots` are SVG by trace."""
    head = "".join(f"<th>{html.escape(heading)}</th>" for heading in HEADINGS)
    body = "".join(
        f"<tr{' class=ours' if row.run.policy == OURS else ''}>"
        + "".join(f"<td>{html.escape(cell)}</td>" for cell in cells(row))
        + "</tr>"
        for row in rows
    )
    found = "".join(f"<li>{html.escape(text)}</li>" for text in said(rows))
    figures = "".join(f"<h2>{html.escape(trace)}</h2>{svg}" for trace, svg in plots.items())
    return (
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>Elasticity</title><style>{_STYLE}</style>'
        f"<h1>Elasticity</h1><p>{html.escape(subtitle)}</p><ul>{found}</ul>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{html.escape(LEGEND)}</p>{figures}</html>"
    )


_STYLE = (
    ":root{color-scheme:light dark}body{font:15px/1.5 system-ui;margin:2rem auto;max-width:75rem;padding:0 1rem}"
    "table{border-collapse:collapse;font-size:13px}td,th{padding:.15rem .5rem;border-bottom:1px solid #8884}"
    "td{text-align:right}td:nth-child(-n+2),th:nth-child(-n+2){text-align:left}.ours{font-weight:bold}"
    "svg{max-width:100%;height:auto;background:#fff}"
)
