"""Draw the plots of one run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from core.reports.plot import thin_points
from tagfleet.loadtest.record import LoadRun

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_STATES = {
    "starting": "#f2c14e",
    "warming": "#f78154",
    "idle": "#9fc5a8",
    "busy": "#2f7d57",
    "draining": "#8f9bb3",
    "drained": "#c7cddb",
}


def draw(figure: Figure, run: LoadRun) -> None:
    """Draw photos over time, response times, queue and workers."""
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


def _counted(times: Sequence[float | None]) -> list[tuple[float, float]]:
    """Return pairs of a time and the number of photos up to that time."""
    return [(at, count) for count, at in enumerate(sorted(time for time in times if time is not None), 1)]


def _draw_progress(axes: Axes, run: LoadRun) -> None:
    axes.set_title("photos")
    for name, times in (
        ("sent", [photo.sent for photo in run.photos]),
        ("accepted", [photo.accepted for photo in run.photos]),
        ("tagged", [photo.tagged for photo in run.photos]),
    ):
        if points := thin_points(_counted(times)):
            axes.plot(*zip(*points, strict=True), label=name)
            axes.legend()


def _draw_response(axes: Axes, run: LoadRun) -> None:
    axes.set_title("response time: share of photos that had their tags by then")
    took = [seconds for photo in run.photos if (seconds := photo.response_s) is not None]
    if points := thin_points([(seconds, count / len(took)) for seconds, count in _counted(took)]):
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
