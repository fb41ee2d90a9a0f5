"""`tagfleet tag PATHS…`, and `tagfleet tag s3://…`."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import click
from click.core import ParameterSource
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from config.settings import Settings, Task
from core.domain.messages import TagOptions
from tagfleet.cli.common import api_key_option, service_url, url_option, with_settings
from tagfleet.cli.tag_bucket import BucketOptions, bucket_options, tag_bucket
from tagfleet.client import Batch, Client, ClientError
from tagfleet.tagging import report
from tagfleet.tagging.journal import Journal
from tagfleet.tagging.photos import find
from tagfleet.tagging.run import TaggingOutcome, tag

_INTERRUPTED = 130
_NAMES_SHOWN = 4
_FOR_UPLOADS = ("output", "url", "api_key", "format", "plain")


class _Place(click.ParamType[str | Path]):
    """A path that exists, or an address in a bucket."""

    name = "place"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str | Path:
        if value.startswith("s3://"):
            return value
        return Path(os.fsdecode(click.Path(exists=True).convert(value, param, ctx)))


@click.command("tag")
@click.argument("places", nargs=-1, type=_Place(), metavar="[PATHS]... | s3://BUCKET/PREFIX")
@with_settings()
@url_option
@api_key_option
@click.option("--tagger", metavar="POOL", help="pool to use  [default: the service's first]")
@click.option("--format", type=click.Choice(report.FORMATS), default="table", show_default=True)
@click.option("--output", type=click.Path(dir_okay=False, path_type=Path), help="write to a file, not to stdout")
@click.option("--plain", is_flag=True, help="csv for programs: no byte-order mark, formulas unescaped")
@click.option("--top-k", type=click.IntRange(1, 1000), help="maximum number of tags for each image")
@click.option("--min-confidence", type=click.FloatRange(0, 1), help="only tags with at least this confidence, 0 to 1")
@click.option(
    "--cumulative", type=click.FloatRange(0, 1, min_open=True), help="the fewest tags whose confidences add up to this"
)
@click.option(
    "--task", "tasks", type=click.Choice(get_args(Task)), multiple=True, help="florence2: task to do (repeat)"
)
@click.option("--candidate", "candidates", multiple=True, metavar="NAME", help="florence2: thing to look for (repeat)")
@bucket_options
def command(
    settings: Settings,
    places: tuple[str | Path, ...],
    url: str | None,
    api_key: str | None,
    tagger: str | None,
    format: str,
    output: Path | None,
    plain: bool,
    top_k: int | None,
    min_confidence: float | None,
    cumulative: float | None,
    tasks: tuple[str, ...],
    candidates: tuple[str, ...],
    **of_buckets: Any,
) -> None:
    """Tag photos and folders of photos with a running Tagfleet.

    The tags go to stdout, everything else to stderr. After an interruption the same command resumes.
    Exit code: 0 all tagged, 1 some failed or were cancelled, 2 wrong usage, 130 interrupted.

    Objects of a bucket are tagged in place, and their results become Parquet files. This is for operators: the command
    then uses the settings' queue and store directly, not the service. See docs/buckets.md.
    """
    wanted = BucketOptions(**of_buckets)
    addresses = [place for place in places if isinstance(place, str)]
    paths = [place for place in places if isinstance(place, Path)]
    options = {"top_k": top_k, "min_confidence": min_confidence, "cumulative": cumulative}
    options |= _asked_of_florence2(tasks, candidates)
    if addresses or wanted.list_ or wanted.inventory:
        if for_uploads := [*(["paths"] if paths else []), *_given(_FOR_UPLOADS)]:
            raise click.UsageError(f"{', '.join(for_uploads)}: only for uploads; photos in a bucket stay in S3")
        sys.exit(tag_bucket(settings, addresses, tagger, TagOptions.model_validate(options), wanted))
    if not paths:
        raise click.UsageError("name what to tag: files, folders, s3://BUCKET/PREFIX, --list FILE or --inventory FILE")
    if for_buckets := _given(of_buckets):
        raise click.UsageError(f"{', '.join(for_buckets)}: only for photos in a bucket, such as s3://BUCKET/PREFIX")
    _send(settings, paths, (url, api_key), tagger, options, report.OutputOptions(format, output, plain))


def _given(names: Container[str | None]) -> list[str]:
    """Return the options among these parameters that the command line has, as people write them."""
    context = click.get_current_context()
    return [
        option.opts[0]
        for option in context.command.params
        if option.name in names and context.get_parameter_source(option.name or "") is ParameterSource.COMMANDLINE
    ]


def _asked_of_florence2(tasks: tuple[str, ...], candidates: tuple[str, ...]) -> dict[str, Any]:
    if "find" in tasks and not candidates:
        raise click.UsageError("--task find needs --candidate NAME: what to look for")
    if candidates and tasks and "find" not in tasks:
        raise click.UsageError("--candidate is for --task find")
    return {"tasks": tasks or None, "candidates": candidates or None}


def _send(
    settings: Settings,
    paths: Sequence[Path],
    service: tuple[str | None, str | None],
    tagger: str | None,
    options: dict[str, Any],
    wanted: report.OutputOptions,
) -> None:
    """Send photos to a service, given by its address and key, and follow them to the end."""
    url, api_key = service
    found = find(paths)
    _say_passed_over(found.passed_over)
    if not found.files:
        raise click.ClickException("nothing to tag: no images found")
    try:
        with report.opened(wanted.output) as out, Client(service_url(url, settings), api_key=api_key) as client:
            journal = Journal(settings.cache / "uploads", client.url, paths, {"tagger": tagger, **options})
            shown = _Shown()
            with shown.bars:
                asked = {"metadata": {"title": found.title}, **options} if found.title else options
                outcome = tag(client, found.files, journal, shown, tagger=tagger, options=asked, begun=shown.say_batch)
            report.write(client.results(outcome.batch), wanted.format, out, plain=wanted.plain, marked=wanted.marked)
            code = _summary(client, outcome, shown.seconds)
        sys.exit(code)
    except KeyboardInterrupt:
        _say("interrupted; tagging of uploaded images continues, and the same command resumes")
        sys.exit(_INTERRUPTED)
    except ClientError as error:
        raise click.ClickException(str(error)) from None
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        raise click.ClickException(f"{error.filename or 'output'}: {error.strerror}") from None


class _Shown:
    """Shows two progress bars on stderr, for uploading and tagging; nothing if stderr is not a terminal."""

    def __init__(self) -> None:
        console = Console(stderr=True)
        self.bars = Bars(
            TextColumn("{task.description:<9}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeElapsedColumn(),
            console=console,
            disable=not console.is_terminal,
        )
        self._upload = self.bars.add_task("uploading", total=None, rate="")
        self._tag = self.bars.add_task("tagging", total=None, rate="")
        self._begun = time.monotonic()
        self._files = self._bytes = 0
        self._kept = 0

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._begun

    def say_batch(self, batch: Batch) -> None:
        self.bars.console.print(f"batch {batch.id}", style="dim", highlight=False)

    def begin(self, total: int, uploaded: int) -> None:
        if uploaded:
            self.bars.console.print(f"{uploaded} of {total} images are uploaded already", highlight=False)
        self._kept = uploaded
        self._begun = time.monotonic()
        self.bars.update(self._upload, total=total, completed=uploaded)
        self.bars.update(self._tag, total=total)

    def uploaded(self, files: int, bytes: int) -> None:
        self._files += files
        self._bytes += bytes
        rate = f"{self._files / self.seconds:.0f}/s {self._bytes / self.seconds / 1e6:.1f} MB/s"
        self.bars.update(self._upload, completed=self._kept + self._files, rate=rate)

    def tagged(self, batch: Batch) -> None:
        rate = f"{batch.rate:.0f}/s" if batch.rate else _waiting_for(batch)
        self.bars.update(self._tag, completed=batch.completed, rate=rate)


def _waiting_for(batch: Batch) -> str:
    if batch.completed or batch.workers.get("ready"):
        return ""
    return "a worker is starting" if batch.workers.get("booting") else "waiting for a worker"


def _summary(client: Client, outcome: TaggingOutcome, seconds: float) -> int:
    """Print failures with reasons, then the totals; return the exit code."""
    batch, unreadable = outcome.batch, outcome.unreadable
    for item in client.results(batch, status="failed") if batch.failed else ():
        error = item.error or "failed"
        _say(error if item.name in error else f"{item.name}: {error}")
    for problem in unreadable:
        _say(str(problem))
    failed = batch.failed + len(unreadable)
    total = batch.total + len(unreadable)
    missed = {"failed": failed, "cancelled": batch.cancelled}
    but = "".join(f", {count} {what}" for what, count in missed.items() if count)
    _say(f"{total - sum(missed.values())} of {total} images tagged{but}, in {seconds:.1f} s")
    return 1 if any(missed.values()) else 0


def _say_passed_over(reasons: Mapping[str, Sequence[str]]) -> None:
    if total := sum(map(len, reasons.values())):
        why = "; ".join(f"{len(names)} {reason} ({_some(names)})" for reason, names in reasons.items())
        _say(f"{total} {'file was' if total == 1 else 'files were'} passed over: {why}")


def _some(names: Sequence[str]) -> str:
    shown = [report.printable(name) for name in names[:_NAMES_SHOWN]]
    return ", ".join([*shown, "…"] if len(names) > _NAMES_SHOWN else shown)


def _say(line: str) -> None:
    click.echo(line, err=True)
