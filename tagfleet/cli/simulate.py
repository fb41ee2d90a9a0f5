"""`tagfleet simulate`: run the controller's policy, and others, in virtual time."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import click

from config.settings import Settings
from tagfleet.cli.common import with_settings

if TYPE_CHECKING:
    from config.schedule import Schedule
    from controller.simulation.compare import Row
    from controller.simulation.traces import Trace

_File = click.Path(path_type=Path, dir_okay=False)
_POSITIVE = click.FloatRange(0, min_open=True)


@click.command("simulate", short_help="Try the controller's policy, and others, on given arrivals.")
@click.option(
    "--trace",
    "names",
    multiple=True,
    metavar="NAME|FILE",
    help="arrivals: a standard trace, a file of lines seconds,images, or a recording of `controller --record`",
)
@click.option("--policy", "policies", multiple=True, help="tagfleet, per-message, keda, aws or cortex  [default: all]")
@click.option("--all", "everything", is_flag=True, help="all standard traces under all policies")
@click.option("--weather", type=click.Choice(["calm", "usual", "rough"]), default="usual", show_default=True)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="the same seed gives the same run")
@click.option("--max-workers", type=click.IntRange(1), default=20, show_default=True, help="maximum number of workers")
@click.option(
    "--tick",
    "tick_s",
    type=_POSITIVE,
    default=5.0,
    show_default=True,
    help="seconds between two ticks of the controller",
)
@click.option("--throughput", type=_POSITIVE, default=10.0, show_default=True, help="images/s of a worker")
@click.option(
    "--boot", "boot_s", type=_POSITIVE, default=60.0, show_default=True, help="seconds from launch to ready, median"
)
@click.option("--price", type=_POSITIVE, default=0.2, show_default=True, help="$/h of a worker")
@click.option(
    "--schedule",
    default="",
    metavar="TEXT",
    help="minimum of workers, such as `daily 08:00-18:00 2`; the simulation begins wed 00:00",
)
@click.option(
    "--forecast",
    "--foresee",
    "forecast",
    is_flag=True,
    help="use the arrivals of the day before; for traces of two days or more",
)
@click.option("--png", type=_File, help="write a plot; for several traces one each, FILE-TRACE.png")
@click.option("--html", type=_File, help="write a self-contained page with table and plots")
@click.option(
    "--docs",
    type=click.Path(path_type=Path, file_okay=False),
    help="write elasticity.md and its plots into this folder",
)
@with_settings()
def command(
    settings: Settings,
    names: tuple[str, ...],
    policies: tuple[str, ...],
    everything: bool,
    weather: str,
    seed: int,
    max_workers: int,
    tick_s: float,
    throughput: float,
    boot_s: float,
    price: float,
    schedule: str,
    forecast: bool,
    png: Path | None,
    html: Path | None,
    docs: Path | None,
) -> None:
    """Run the real controller, and other systems' policies, over a simulated cloud in virtual time.

    The controller has the settings' [controller] section, with times that fit EC2. Standard traces: step, ramp,
    diurnal, flash, bursty, sparse, old. More traces: heavy, a day of a million images; days, two diurnal days. A trace
    may also be a file with lines seconds,images, or the recording of a live controller, in which each pool is a trace.
    --schedule and --forecast apply only to the policy tagfleet.
    """
    from rich.console import Console

    from controller.simulation import report
    from controller.simulation.compare import POLICIES, compare
    from controller.simulation.scenario import WEATHERS, WorkerSpec, build_scenario
    from controller.simulation.traces import STANDARD
    from core import telemetry

    telemetry.configure("simulate", level="error")
    if unknown := set(policies) - set(POLICIES):
        raise click.BadParameter(f"there is no policy {unknown.pop()!r}; there are {', '.join(POLICIES)}")
    traces = [trace for name in (STANDARD if everything or not names else names) for trace in _traces(name, seed)]
    worker = WorkerSpec(throughput=throughput, boot_s=boot_s, price=price)
    controls = settings.controller.model_copy(update={"forecast": forecast})
    stage = build_scenario(controls, worker, WEATHERS[weather], max_workers=max_workers, tick_s=tick_s)
    stage = replace(stage, schedule=_schedule(schedule))
    console = Console(width=None if Console().is_terminal else 220)
    with _garbage_collected_seldom(), console.status("") as status:
        rows = list(
            compare(traces, policies or POLICIES, stage, seed, lambda trace, name: status.update(f"{trace}: {name}"))
        )
    table = report.table(rows)
    if not console.is_terminal:
        table.box = None
    console.print(table)
    for text in report.said(rows):
        console.print(text, highlight=False)
    if png is not None:
        _write_plots(rows, png)
    if html is not None:
        html.write_text(report.page(rows, _svgs(rows), f"weather {weather}, seed {seed}"), encoding="utf-8")
    if docs is not None:
        _publish(rows, docs)


@contextmanager
def _garbage_collected_seldom() -> Iterator[None]:
    """Run the garbage collector rarely, which saves a twelfth of the time.

    A simulated day makes millions of objects and hardly any cycles.
    """
    before = gc.get_threshold()
    gc.set_threshold(100_000, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)


def _schedule(text: str) -> Schedule:
    from config import schedule
    from controller.simulation.run import ZONE

    try:
        return schedule.schedule(text, ZONE)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--schedule") from None


def _traces(name: str, seed: int) -> list[Trace]:
    from controller.simulation import traces
    from controller.simulation.recorded import from_recording, is_recording

    if name in traces.MADE:
        return [traces.trace(name, seed)]
    try:
        path = Path(name)
        return from_recording(path) if is_recording(path) else [traces.from_csv(path)]
    except OSError as error:
        known = ", ".join(traces.MADE)
        raise click.BadParameter(
            f"{name}: {error.strerror}; it is none of {known} either", param_hint="--trace"
        ) from None
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--trace") from None


def _by_trace(rows: list[Row]) -> list[tuple[str, list[Row]]]:
    return [(trace, list(some)) for trace, some in groupby(rows, key=lambda row: row.trace)]


def _svgs(rows: list[Row]) -> dict[str, str]:
    from controller.simulation import plots

    return {trace: plots.svg(some) for trace, some in _by_trace(rows)}


def _write_plots(rows: list[Row], file: Path) -> None:
    from controller.simulation import plots

    found = _by_trace(rows)
    for trace, some in found:
        target = file if len(found) == 1 else file.with_name(f"{file.stem}-{trace}{file.suffix or '.png'}")
        target.write_bytes(plots.png(some))


_MARK = "<!-- what follows is written by `make elasticity` -->"  # in docs/elasticity.md, so keep the words


def _publish(rows: list[Row], folder: Path) -> None:
    """Replace everything in elasticity.md after the mark, and its plots."""
    from controller.simulation import plots, report

    parts = [_MARK, "", *(f"- {text}" for text in report.said(rows)), "", report.markdown(rows), "", report.LEGEND]
    for trace, some in _by_trace(rows):
        picture = folder / f"elasticity-{trace}.png"
        picture.write_bytes(plots.png(some, dpi=55))
        parts += ["", f"![{trace}: queue, instances, cost and waits under each policy]({picture.name})"]
    page = folder / "elasticity.md"
    before = page.read_text(encoding="utf-8").partition(_MARK)[0] if page.exists() else "# Elasticity\n\n"
    page.write_text(before + "\n".join(parts) + "\n", encoding="utf-8")
