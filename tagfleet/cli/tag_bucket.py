"""`tagfleet tag s3://…`: an operator's command that uses the queue and the store directly."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from config.settings import Settings
from core.domain.addresses import split_address
from core.domain.messages import TagOptions
from core.storage import layout
from core.wiring import Backend
from tagfleet.bulk import estimate
from tagfleet.bulk.listing import FileListing, InventoryListing, Listing, PrefixListing
from tagfleet.bulk.run import BucketRun, RunSetup, drive
from tagfleet.bulk.state import RunFile, RunState, run_id_of
from tagfleet.text_tables import Column, echo_table

_INTERRUPTED = 130
_LINE_EVERY_S = 30.0
_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,60}"


@dataclass(frozen=True)
class BucketOptions:
    """The options of `tagfleet tag` for buckets."""

    list_: str | None
    inventory: str | None
    run: str | None
    lead: int
    everything: bool
    out: Path | None
    estimate: bool
    rate: float | None
    workers: int | None
    price: float


_OPTIONS = (
    click.option("--list", "list_", metavar="FILE", help="buckets: tag what FILE names, one address or key a line"),
    click.option("--inventory", metavar="MANIFEST", help="buckets: tag what an S3 Inventory's manifest.json names"),
    click.option("--run", metavar="NAME", help="buckets: name of the run  [default: derived from the objects]"),
    click.option(
        "--lead",
        type=click.IntRange(min=1),
        default=5000,
        show_default=True,
        help="buckets: maximum number of images in the queue",
    ),
    click.option("--all", "everything", is_flag=True, help="buckets: include keys that do not end like an image"),
    click.option(
        "--out", type=click.Path(file_okay=False, path_type=Path), help="buckets: folder for the Parquet files"
    ),
    click.option("--estimate", is_flag=True, help="buckets: only estimate number, time and cost"),
    click.option("--rate", type=click.FloatRange(min=0, min_open=True), help="buckets: images/s of one worker"),
    click.option(
        "--workers", type=click.IntRange(min=1), help="buckets: number of workers to estimate with  [default: the cap]"
    ),
    click.option("--price", type=click.FloatRange(min=0), default=0.0, help="buckets: $/h of one worker's instance"),
)


def bucket_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def tag_bucket(
    settings: Settings, places: Sequence[str], pool: str | None, options: TagOptions, wanted: BucketOptions
) -> int:
    """Begin a run, or resume it, and run it to its end; return the exit code."""
    backend = Backend(settings)
    pool = pool or settings.default_pool
    if pool not in settings.pools:
        raise click.UsageError(f"--tagger {pool}: there is no such pool; there are: {', '.join(settings.pools)}")
    listing = _listing(backend, places, wanted)
    fleet = _fleet(settings, backend, wanted)
    if wanted.estimate:
        _say_estimate(listing, wanted.everything, fleet, aws=settings.backend == "aws")
        return 0
    backend.check_store()
    run_id = f"run_{wanted.run}" if wanted.run else run_id_of(listing.name, pool)
    new = RunState(listing=listing.name, pool=pool, options=options, everything=wanted.everything)
    file = RunFile(backend.store, run_id, new, time.time)
    results = str(wanted.out) if wanted.out else _place(settings, run_id)
    shown = _Shown(file, fleet, aws=settings.backend == "aws")
    if file.state.finished_at is not None:
        shown.say(f"{run_id} is finished; to tag the same objects again, use another name: --run NAME")
    else:
        shown.say(f"{'resuming' if file.resumed else 'beginning'} {run_id}; its results go to {results}")
    try:
        setup = RunSetup(backend.store, backend.jobs(pool), time.time, lead=wanted.lead, folder=wanted.out)
        with shown.bars:
            drive(BucketRun(file, listing, setup), shown.update, shown.say, time.sleep)
    except KeyboardInterrupt:
        shown.say(f"interrupted: {run_id} is kept, tagging of queued images continues, and the same command resumes")
        return _INTERRUPTED
    if not file.state.sent:
        file.forget()
        over = f"{file.state.passed_over:,} objects do not end like an image (--all includes them)"
        raise click.ClickException(f"nothing to tag in {listing.name}: {over}")
    return shown.summary(results)


def _listing(backend: Backend, places: Sequence[str], wanted: BucketOptions) -> Listing:
    if len(places) > 1 or (wanted.list_ and wanted.inventory) or (wanted.inventory and places):
        raise click.UsageError("one thing at a time: s3://BUCKET/PREFIX, or --list FILE, or --inventory MANIFEST")
    try:
        bucket, prefix = split_address(places[0]) if places else ("", "")
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    if wanted.inventory:
        return InventoryListing(backend.source, wanted.inventory)
    if wanted.list_:
        if prefix:
            raise click.UsageError("with --list, give only the bucket of its keys: s3://BUCKET")
        return FileListing(backend.source, wanted.list_, bucket)
    return PrefixListing(backend.source, places[0] if prefix else f"s3://{bucket}/")


def _fleet(settings: Settings, backend: Backend, wanted: BucketOptions) -> estimate.Fleet:
    """Return the workers to estimate with. Their rate is the given one, that of running workers, or the prior."""
    rates = [] if wanted.rate else [beat.rate for beat in backend.roster.workers() if beat.rate]
    measured = sum(rates) / len(rates) if rates else settings.controller.throughput_prior
    workers = wanted.workers or max(1, settings.controller.max_workers)
    return estimate.Fleet(wanted.rate or measured, workers, wanted.price)


def _place(settings: Settings, run_id: str) -> str:
    folder = layout.part_key(run_id, 1).rpartition("/")[0] + "/"
    if settings.backend == "aws":
        return f"s3://{settings.aws.output_bucket}/{folder}"
    return f"{folder} of the store in {settings.home} (--out FOLDER puts them elsewhere)"


def _say_estimate(listing: Listing, everything: bool, fleet: estimate.Fleet, *, aws: bool) -> None:
    found = estimate.count(listing, everything=everything, rng=random.Random())  # noqa: S311  # a sample, no secret
    exact = f"± {found.error:,} (sampled, 95 %)" if found.error else "(counted)"
    rows = [("images", f"{found.images:,} {exact}")]
    workers = f"{fleet.workers} worker{'s' if fleet.workers > 1 else ''}"
    rows.append(("time", f"{_duration(fleet.seconds(found.images))} with {workers} of {fleet.rate:.1f} images/s"))
    rows.append(("requests", f"${estimate.requests_dollars(found.images, aws=aws):,.2f}"))
    if fleet.price:
        rows.append(("instances", f"${fleet.dollars(found.images):,.2f} at ${fleet.price:g}/h each"))
    else:
        rows.append(("instances", "not counted; give the price of one with --price, in $/h"))
    echo_table([Column(), Column()], rows)


def _duration(seconds: float) -> str:
    for unit, length in (("days", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds:.0f} s"


class _Shown:
    """Shows a progress bar on stderr; if stderr is not a terminal, a line from time to time."""

    def __init__(self, file: RunFile, fleet: estimate.Fleet, *, aws: bool) -> None:
        self._file = file
        self._fleet = fleet
        self._aws = aws
        self._console = Console(stderr=True, soft_wrap=True, highlight=False)
        fields = TextColumn("{task.fields[text]}")
        columns = (BarColumn(), MofNCompleteColumn(), fields, TimeElapsedColumn(), TimeRemainingColumn())
        self.bars = Bars(*columns, console=self._console, disable=not self._console.is_terminal)
        self._task = self.bars.add_task("", total=None, text="")
        self._began = self._line_at = time.monotonic()
        self._before: int | None = None
        self._waits_for = ""

    def say(self, line: str) -> None:
        self._console.print(line, markup=False)

    def update(self, run: BucketRun) -> None:
        state, done = self._file.state, run.done
        self._before = done if self._before is None else self._before
        rate = (done - self._before) / max(time.monotonic() - self._began, 0.1)
        text = f"{rate:.1f}/s ${self._cost(done):.2f}"
        self.bars.update(self._task, completed=done, total=run.total, text=text)
        if self.bars.disable and time.monotonic() - self._line_at > _LINE_EVERY_S:
            self._line_at = time.monotonic()
            self.say(f"{done:,} of {state.sent:,} queued images are done, {text}")
        if run.waits_for and run.waits_for != self._waits_for:
            self.say(run.waits_for)
        self._waits_for = run.waits_for

    def summary(self, results: str) -> int:
        """Print the outcome of the run; return the exit code."""
        state = self._file.state
        over = f", {state.passed_over:,} objects passed over" if state.passed_over else ""
        took = _duration((state.finished_at or 0.0) - state.begun_at)
        self.say(
            f"{self._file.run_id}: {state.done - state.failed:,} of {state.done:,} images tagged{over}, in {took}, "
            f"about ${self._cost(state.done):.2f}; their results are in {results}"
        )
        return 1 if state.failed else 0

    def _cost(self, images: int) -> float:
        return estimate.requests_dollars(images, aws=self._aws) + self._fleet.dollars(images)
