"""Figures of runs as text: the summary of one run, and the ratios of two reports."""

from __future__ import annotations

from collections.abc import Iterator

from tagfleet.loadtest import figures
from tagfleet.loadtest.figures import RunFigures, Spread
from tagfleet.loadtest.record import LoadRun, Report
from tagfleet.text_tables import Column, Columns, table_lines


def summary(run: LoadRun, width: int | None = None) -> Iterator[str]:
    """Yield the figures of a run as lines; their table is at most `width` characters wide."""
    found = figures.compute(run)
    start = run.plan.start.value.replace("-", " ")
    yield f"{run.plan.label}: {found.tagged} of {found.photos} photos tagged, start {start}"
    yield from table_lines([Column(), Column()], rows(found), width=width, indent=2)
    for error, count in sorted(found.errors.items(), key=lambda item: -item[1]):
        yield f"  {count} × {error}"
    for remark in found.remarks:
        yield f"  {remark}"


def rows(found: RunFigures) -> Iterator[tuple[str, str]]:
    """Yield name and value of each figure that was measured."""
    if found.seconds is not None:
        yield "first byte sent → last tags", f"{found.seconds:.2f} s"
    if found.response:
        yield "response time of a photo", spread(found.response)
    if found.upload:
        yield "upload of a photo", spread(found.upload)
    if found.uploads_per_s is not None:
        yield "uploads", f"{found.uploads_per_s:.1f}/s, {found.mb_per_s or 0:.1f} MB/s"
    if found.images_per_s is not None:
        yield "images tagged", f"{found.images_per_s:.1f}/s"
    if found.sender_limit_per_s is not None:
        yield "the sender could reach", f"{found.sender_limit_per_s:.0f} uploads/s"
    if found.boots:
        phases = ", ".join(f"{phase.replace('_', ' ')} {took.mean:.2f}" for phase, took in found.boot_phases.items())
        yield f"boots: {found.boots}, seconds to", phases
    if found.most_workers or found.most_waiting:
        yield "most at once", f"{found.most_workers} workers, {found.most_waiting} photos waiting"


def spread(values: Spread) -> str:
    return (
        f"mean {values.mean:.2f} s, p50 {values.p50:.2f}, p95 {values.p95:.2f}, p99 {values.p99:.2f}, "
        f"max {values.max:.2f}"
    )


def comparison(first: Report, second: Report, width: int | None = None) -> Iterator[str]:
    """Yield the figures of runs with the same label side by side; the ratio is second / first."""
    others = {run.plan.label: figures.compute(run) for run in second.runs}
    matched = False
    for run in first.runs:
        if (other := others.get(run.plan.label)) is None:
            continue
        matched = True
        theirs = _numbers(other)
        table = [
            (name, f"{value:.2f}", f"{theirs[name]:.2f}", f"{theirs[name] / value:.2f}" if value else "–")
            for name, value in _numbers(figures.compute(run)).items()
            if name in theirs
        ]
        columns: Columns = (run.plan.label, *(Column(name, right=True) for name in ("A", "B", "B/A")))
        yield from table_lines(columns, table, width=width)
    if not matched:
        labels = (", ".join(sorted({run.plan.label for run in report.runs})) for report in (first, second))
        yield "the reports have no run in common: {} and {}".format(*labels)


def _numbers(found: RunFigures) -> dict[str, float]:
    numbers: dict[str, float | None] = {
        "photos tagged": found.tagged,
        "errors": sum(found.errors.values()),
        "seconds in all": found.seconds,
        "uploads/s": found.uploads_per_s,
        "images/s": found.images_per_s,
        "most workers": found.most_workers,
    }
    if found.response:
        numbers |= {f"response {name}, s": value for name, value in found.response.model_dump().items()}
    for phase, took in found.boot_phases.items():
        numbers[f"boot: {phase.replace('_', ' ')}, s"] = took.mean
    return {name: value for name, value in numbers.items() if value is not None}
