"""A report as one HTML page that needs nothing else."""

from __future__ import annotations

import time
from collections.abc import Iterator
from html import escape

from tagfleet.loadtest import figures, plots, suite, summaries
from tagfleet.loadtest.record import LoadRun, Report

_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 66rem; padding: 0 1rem; color: #1d2733 }
table { border-collapse: collapse; margin: 1rem 0 }
td, th { border-bottom: 1px solid #d5dbe3; padding: .25rem 1rem .25rem 0; text-align: left; vertical-align: top }
svg { width: 100%; height: auto }
.bad { color: #a3261b }
"""


def html(report: Report) -> str:
    return "\n".join(_lines(report))


def _lines(report: Report) -> Iterator[str]:
    yield '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Load test of Tagfleet</title>'
    yield f"<style>{_STYLE}</style></head><body><h1>Load test of Tagfleet</h1><p>{escape(report.machine)}</p>"
    if report.suite:
        yield from _table(line.strip("|").split("|") for line in suite.table(report.runs) if "---" not in line)
    for run in report.runs:
        yield from _section(run)
    yield "</body></html>"


def _section(run: LoadRun) -> Iterator[str]:
    found = figures.compute(run)
    began = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(run.began_at_unix))
    taggers = ", ".join(run.taggers.values())
    yield f"<h2>{escape(run.plan.label)}</h2><p>{began}, {escape(run.url)}, {escape(taggers)}: {_how(run)}</p>"
    yield f"<p>{found.tagged} of {found.photos} photos tagged.</p>"
    for error, count in found.errors.items():
        yield f'<p class="bad">{count} × {escape(error)}</p>'
    for remark in found.remarks:
        yield f'<p class="bad">{escape(remark)}</p>'
    yield from _table(summaries.rows(found))
    yield plots.svg(run)


def _how(run: LoadRun) -> str:
    """The plan in words."""
    plan = run.plan
    what = f"photos of {escape(str(plan.folder))}" if plan.folder else f"{', '.join(map(str, plan.sizes))} bytes each"
    when = f"{plan.rate:g}/s, {plan.arrivals.value}" if plan.rate else f"{plan.concurrency} requests at once"
    return f"{what}, {when}, {plan.per_request} per request, {plan.batches} batches, start {plan.start.value}"


def _table(rows: Iterator[tuple[str, ...]] | Iterator[list[str]]) -> Iterator[str]:
    yield "<table>"
    for row in rows:
        yield f"<tr>{''.join(f'<td>{escape(cell.strip())}</td>' for cell in row)}</tr>"
    yield "</table>"
