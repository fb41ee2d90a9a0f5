"""`tagfleet loadtest`, and `tagfleet loadtest compare A.json B.json`."""

from __future__ import annotations

import os
import platform
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from config import settings as config
from core.util.atomic import atomic_write
from tagfleet.cli.common import api_key_option, service_url, url_option
from tagfleet.client import ClientError
from tagfleet.loadtest import figures, page, record, suite, summaries
from tagfleet.loadtest.plan import Arrivals, LoadPlan, Start, parse_size
from tagfleet.loadtest.record import LoadRun, Photo, Report, Sample
from tagfleet.loadtest.run import Target, perform
from tagfleet.text_tables import terminal_width

_INTERRUPTED = 130
_CONCURRENCY, _CONCURRENCY_OF_A_RATE = 4, 64


@click.group("loadtest", invoke_without_command=True)
@url_option
@api_key_option
@click.option("--count", type=click.IntRange(1, 200_000), default=100, show_default=True, help="number of photos")
@click.option(
    "--size",
    "sizes",
    multiple=True,
    metavar="SIZE",
    help="size of a photo: 1900, 80kB, 2MB; several take turns  [80kB]",
)
@click.option(
    "--folder", type=click.Path(exists=True, file_okay=False, path_type=Path), help="send the photos of this folder"
)
@click.option(
    "--rate", type=click.FloatRange(0, min_open=True), help="send this many photos/s, however slow the answers"
)
@click.option(
    "--arrivals",
    type=click.Choice([kind.value for kind in Arrivals]),
    default="poisson",
    show_default=True,
    help="gaps between photos with --rate",
)
@click.option("--concurrency", type=click.IntRange(1, 512), help="requests at once  [4; with --rate at most 64]")
@click.option("--per-request", type=click.IntRange(1, 20), default=1, show_default=True, help="photos in one upload")
@click.option(
    "--batches",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="number of batches to spread photos over",
)
@click.option(
    "--start",
    type=click.Choice([start.value for start in Start]),
    default="as-it-is",
    show_default=True,
    help="cold: wait until no worker is left; warm: tag some photos first",
)
@click.option("--seconds", type=click.FloatRange(1), default=600.0, show_default=True, help="maximum duration of a run")
@click.option(
    "--cold-wait", type=click.FloatRange(1), default=600.0, show_default=True, help="seconds to wait for workers to end"
)
@click.option("--tagger", metavar="POOL", help="pool to use  [default: the service's first]")
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="seed of made-up photos and Poisson arrivals"
)
@click.option("--label", default="load", show_default=True, help="name of the run; `compare` pairs runs of one name")
@click.option("--suite", "suite_name", type=click.Choice([suite.PREDECESSOR]), help="perform a whole table of runs")
@click.option(
    "--up-to", type=click.IntRange(20), default=10_000, show_default=True, help="leave out larger runs of --suite"
)
@click.option("--delete", is_flag=True, help="delete the test's batches afterwards")
@click.option("--output", type=click.Path(path_type=Path), help="NAME of NAME.html and NAME.json  [loadtest-DATE-TIME]")
@click.pass_context
def command(ctx: click.Context, /, url: str | None, api_key: str | None, cold_wait: float, **given: Any) -> None:
    """Send photos, and report how long their tags took.

    Photos leave at a given concurrency or rate. A summary goes to stdout; NAME.html has plots, NAME.json every photo.
    The test ends by itself and cancels unfinished work. Exit code: 0 all tagged, 1 some were not, 2 wrong usage, 130
    interrupted.
    """
    if ctx.invoked_subcommand is None:
        target = Target(service_url(url, config.load(os.environ)), api_key, cold_wait)
        sys.exit(_test(target, **given))


@command.command("compare")
@click.argument("first", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("second", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def compare(first: Path, second: Path) -> None:
    """Print the figures of two reports side by side, with ratios.

    FIRST and SECOND are the JSON files of two tests.
    """
    for line in summaries.comparison(record.read(first), record.read(second), terminal_width()):
        click.echo(line)


def _test(target: Target, suite_name: str | None, up_to: int, delete: bool, output: Path | None, **planned: Any) -> int:
    """Run the test or the suite, and return the exit code."""
    plan = _plan(**planned)
    output = output or Path(time.strftime("loadtest-%Y%m%d-%H%M%S"))
    report = Report(machine=_machine(), suite=suite_name or "", runs=[])
    try:
        for each in suite.plans(up_to, plan) if suite_name else [plan]:
            run = _perform(target, each, delete)
            report.runs.append(run)
            _keep(report, output)  # after each run, so that a failing last run does not lose an hour of tests
            for line in summaries.summary(run, terminal_width()):
                click.echo(line)
            if run.interrupted:
                return _INTERRUPTED
    except ClientError as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename or output}: {error.strerror}") from None
    if suite_name:
        click.echo()
        for line in suite.table(report.runs):
            click.echo(line)
    click.echo(f"{output}.html has the plots, {output}.json every photo", err=True)
    return 0 if all(figures.compute(run).sound for run in report.runs) else 1


def _plan(sizes: Sequence[str], concurrency: int | None, rate: float | None, per_request: int, **rest: Any) -> LoadPlan:
    if rate and per_request > 1:
        raise click.UsageError("with --rate each photo leaves at its own time: use --per-request only without --rate")
    if sizes and rest["folder"]:
        raise click.UsageError("--size is for made-up photos, --folder has photos: give only one of them")
    return LoadPlan(
        sizes=tuple(map(parse_size, sizes)) or (80_000,),
        concurrency=concurrency or (_CONCURRENCY_OF_A_RATE if rate else _CONCURRENCY),
        rate=rate,
        per_request=per_request,
        **rest,
    )


def _perform(target: Target, plan: LoadPlan, delete: bool) -> LoadRun:
    with _Shown(plan) as shown:
        return perform(target, plan, shown, delete=delete)


def _keep(report: Report, output: Path) -> None:
    record.write(report, output.with_name(f"{output.name}.json"))
    atomic_write(output.with_name(f"{output.name}.html"), page.html(report))


def _machine() -> str:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{time.strftime('%Y-%m-%d')}, sent from {platform.system()} {platform.machine()}, {cores} cores"


class _Shown:
    """Shows two progress bars and the state of the fleet on stderr; nothing if stderr is not a terminal."""

    def __init__(self, plan: LoadPlan) -> None:
        console = Console(stderr=True)
        self._bars = Bars(
            TextColumn("{task.description:<8}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._total = plan.count
        self._label = plan.label
        self._tasks: tuple[TaskID, TaskID] | None = None
        self._said = ""

    def __enter__(self) -> _Shown:
        self._bars.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._bars.stop()

    def say(self, line: str) -> None:
        kind = line.rstrip("0123456789 s")
        if kind != self._said:  # show a countdown only once
            self._said = kind
            self._bars.console.print(f"{self._label}: {line}", style="dim", highlight=False)

    def show(self, photos: Sequence[Photo], sample: Sample | None) -> None:
        sent, tagged = self._tasks = self._tasks or (self._task("sent"), self._task("tagged"))
        errors = sum(photo.error is not None for photo in photos)
        self._bars.update(
            sent,
            completed=sum(photo.accepted is not None for photo in photos),
            note=f"{errors} errors" if errors else "",
        )
        self._bars.update(
            tagged, completed=sum(photo.tagged is not None for photo in photos), note=_fleet(sample) if sample else ""
        )

    def _task(self, name: str) -> TaskID:
        return self._bars.add_task(name, total=self._total, note="")


def _fleet(sample: Sample) -> str:
    workers = ", ".join(f"{count} {state}" for state, count in sorted(sample.workers.items())) or "no workers"
    return f"{sample.waiting} waiting, {sample.in_flight} in progress, {workers}"
