"""Render a report as one self-contained HTML page."""

from __future__ import annotations

import time
from collections.abc import Iterator
from html import escape

from core.reports.page import build_page
from core.reports.plot import draw_svg
from core.reports.table import build_table
from tagfleet.loadtest import figures, plots, suite, summaries
from tagfleet.loadtest.record import LoadRun, Report


def html(report: Report) -> str:
    """Return the page: the suite's table, then a section for each run."""
    return build_page("Load test of Tagfleet", _lines(report))


def _lines(report: Report) -> Iterator[str]:
    yield f"<p>{escape(report.machine)}</p>"
    if report.suite:
        lines = (line for line in suite.table(report.runs) if "---" not in line)
        yield build_table([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    for run in report.runs:
        yield from _section(run)


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
    yield build_table(summaries.rows(found))
    yield draw_svg(10, 6, lambda figure: plots.draw(figure, run))


def _how(run: LoadRun) -> str:
    """Return the plan in words."""
    plan = run.plan
    what = f"photos of {escape(str(plan.folder))}" if plan.folder else f"{', '.join(map(str, plan.sizes))} bytes each"
    when = f"{plan.rate:g}/s, {plan.arrivals.value}" if plan.rate else f"{plan.concurrency} requests at once"
    return f"{what}, {when}, {plan.per_request} per request, {plan.batches} batches, start {plan.start.value}"
