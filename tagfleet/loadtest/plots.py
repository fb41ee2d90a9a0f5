"""Plots of one run, as SVG to be put into a page. matplotlib is imported here only, when a plot is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from io import StringIO
from typing import TYPE_CHECKING

from tagfleet.loadtest.record import LoadRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_POINTS = 400
_STATES = {
    "starting": "#f2c14e",
    "warming": "#f78154",
    "idle": "#9fc5a8",
    "busy": "#2f7d57",
    "draining": "#8f9bb3",
    "drained": "#c7cddb",
}


def svg(run: LoadRun) -> str:
    """Photos over time, response times, queue and workers."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context({"svg.fonttype": "none", "font.size": 9, "svg.hashsalt": "tagfleet"}):
        figure = Figure(figsize=(10, 6), layout="constrained")
        [[progress, response], [queue, workers]] = figure.subplots(2, 2)
        _draw_progress(progress, run)
        _draw_response(response, run)
        _draw_queue(queue, run)
        _draw_workers(workers, run)
        for axes in (progress, queue, workers):
            axes.set_xlabel("seconds")
            axes.set_xlim(left=0)
        for axes in (progress, response, queue, workers):
            axes.set_ylim(bottom=0)
            axes.grid(alpha=0.3)
        out = StringIO()
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def thinned(points: Sequence[tuple[float, float]], most: int = _POINTS) -> list[tuple[float, float]]:
    """At most about so many of them, the first and the last among them."""
    if len(points) <= most:
        return list(points)
    step = len(points) / (most - 1)
    return [points[int(number * step)] for number in range(most - 1)] + [points[-1]]


def _counted(times: Sequence[float | None]) -> list[tuple[float, float]]:
    """How many there are by each time."""
    return [(at, count) for count, at in enumerate(sorted(time for time in times if time is not None), 1)]


def _draw_progress(axes: Axes, run: LoadRun) -> None:
    axes.set_title("photos")
    for name, times in (
        ("sent", [photo.sent for photo in run.photos]),
        ("accepted", [photo.accepted for photo in run.photos]),
        ("tagged", [photo.tagged for photo in run.photos]),
    ):
        if points := thinned(_counted(times)):
            axes.plot(*zip(*points, strict=True), label=name)
            axes.legend()


def _draw_response(axes: Axes, run: LoadRun) -> None:
    axes.set_title("response time: share of photos that had their tags by then")
    took = [seconds for photo in run.photos if (seconds := photo.response_s) is not None]
    if points := thinned([(seconds, count / len(took)) for seconds, count in _counted(took)]):
        axes.plot(*zip(*points, strict=True), color="#2f7d57")
    axes.set_xlabel("seconds from a photo's first byte sent")
    axes.set_xlim(left=0)


def _draw_queue(axes: Axes, run: LoadRun) -> None:
    axes.set_title("queue")
    times = [sample.at for sample in run.samples]
    axes.plot(times, [sample.waiting for sample in run.samples], label="waiting")
    axes.plot(times, [sample.in_flight for sample in run.samples], label="in workers' hands")
    axes.legend()


def _draw_workers(axes: Axes, run: LoadRun) -> None:
    axes.set_title("workers")
    seen = {state for sample in run.samples for state in sample.workers}
    states = [state for state in _STATES if state in seen]
    if states:
        axes.stackplot(
            [sample.at for sample in run.samples],
            *([sample.workers.get(state, 0) for sample in run.samples] for state in states),
            labels=states,
            colors=[_STATES[state] for state in states],
            step="post",
        )
        axes.legend()
