"""`tagfleet data`: check and split labelled images."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from config.settings import Settings
from tagfleet.cli.common import with_settings
from tagfleet.tagging.report import printable
from tagfleet.text_tables import Column, echo_table

if TYPE_CHECKING:
    from collections.abc import Callable

    from training.data.check import Check
    from training.data.examples import Dataset
    from training.data.fingerprints import Fingerprints
    from training.data.reading import Finding

_MOST_LABELS = 24
_MOST_OF_A_KIND = 3
_source = click.argument("source", type=click.Path(path_type=Path))
_images = click.option(
    "--images", type=click.Path(path_type=Path), help="folder of the images  [default: beside SOURCE]"
)


@click.group("data", short_help="Check and split labelled images before training.")
def command() -> None:
    """Check and split labelled images before training a tagger on them.

    SOURCE is COCO's instances JSON, a csv (`file,labels`, or `file` and a column of 0 and 1 for each label), an export
    from Tagfleet (jsonl or csv), or a folder that contains one of these or a folder for each class.
    """


@command.command("check")
@_source
@_images
@click.option("--splits", type=click.Path(path_type=Path, dir_okay=False), help="file of `tagfleet data split`")
@click.option(
    "--report",
    type=click.Path(path_type=Path, file_okay=False),
    help="write check.html and check.json into this folder",
)
@click.option("--json", "as_json", is_flag=True, help="print everything as JSON")
@with_settings()
def check(
    settings: Settings, source: Path, images: Path | None, splits: Path | None, report: Path | None, *, as_json: bool
) -> None:
    """Check labels, every image and, with --splits, the split.

    Finds missing, orphan and unreadable images, labels out of range, boxes outside their image, exact and near copies
    of images within and across the parts of a split (a leak), and labels that are rare or unused. Exit code 1 if a
    problem makes the data unfit for training.
    """
    from training.data import check_report, files, reading
    from training.data import splits as split_files
    from training.data.check import check as check_reading

    found = reading.inspect(source, images)
    split = split_files.load(splits, found.dataset) if splits else None
    result = check_reading(found, _compute_fingerprints(found.dataset, settings), split)
    if report is not None:
        files.make_folder(report)
        files.write(report / "check.html", check_report.build_html(result).encode())
        files.write(report / "check.json", json.dumps(result.figures(), indent=1).encode() + b"\n")
    if as_json:
        click.echo(json.dumps(result.figures(), indent=1))
    else:
        _print(result)
    sys.exit(0 if result.sound else 1)


@command.command("split")
@_source
@_images
@click.option("--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="the file to write")
@click.option("--shares", default="80,10,10", show_default=True, help="per cent for training, validation and test")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="the same seed gives the same split")
@with_settings()
def split(settings: Settings, source: Path, images: Path | None, output: Path, shares: str, seed: int) -> None:
    """Split labelled images for training, validation and test.

    The share of each label is as close to --shares as possible. Copies of an image stay together, as do images with the
    same value in the csv's column `group`.
    """
    from training.data import duplicates, reading
    from training.data import splits as split_files

    wanted = _parse_shares(shares)
    dataset = reading.read(source, images)
    copies = duplicates.find_copies(_compute_fingerprints(dataset, settings))
    made = split_files.split(duplicates.group_copies(dataset, copies), wanted, seed)
    split_files.save(made, output, dataset)
    rows = []
    for name, part in made.parts.items():
        lacking = sum(1 for whole, count in zip(dataset.counts(), part.counts(), strict=True) if whole and not count)
        rows.append((name, f"{len(part.examples)} images", f"without {lacking} of the labels" if lacking else ""))
    echo_table([Column(), Column(right=True), Column()], rows)
    if copies:
        click.echo(f"{len(copies)} copies of images stay with their original")


def _parse_shares(text: str) -> tuple[float, float, float]:
    try:
        train, validation, test = map(float, text.split(","))
    except ValueError:
        raise click.BadParameter("give three numbers separated by commas: 80,10,10", param_hint="--shares") from None
    return train, validation, test


def _compute_fingerprints(dataset: Dataset, settings: Settings) -> Fingerprints:
    """Return the images' fingerprints. Progress goes to stderr, so that results can be piped."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    from training.data import fingerprints

    console = Console(stderr=True)
    paths = [example.path for example in dataset.examples]
    columns = ("reading images", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(paths))
        show: Callable[[int], None] = lambda done: progress.update(task, completed=done)  # noqa: E731
        return fingerprints.compute_fingerprints(paths, settings.worker.decode_memory_mb, progress=show)


def _print(found: Check) -> None:
    dataset = found.dataset
    parts = ", ".join(f"{name} {count}" for name, count in found.parts)
    click.echo(
        f"{dataset.name}: {len(dataset.examples)} images, {len(dataset.labels)} labels"
        + (f"; {parts}" if parts else "")
    )
    _echo_labels(found)
    for level, colour in (("error", "red"), ("warning", "yellow")):
        of_level = [finding for finding in found.findings if finding.level == level]
        for kind, count in Counter(finding.kind for finding in of_level).most_common():
            click.echo(f"{click.style(level, fg=colour, bold=level == 'error')} {kind}: {count}")
            for finding in _some([finding for finding in of_level if finding.kind == kind]):
                click.echo(f"  {printable(finding)}")
    if not found.findings:
        click.echo("no problems found")


def _some(findings: list[Finding]) -> Iterator[str]:
    yield from map(str, findings[:_MOST_OF_A_KIND])
    if findings[_MOST_OF_A_KIND:]:
        yield f"and {len(findings) - _MOST_OF_A_KIND} more; --json and --report show all"


def _echo_labels(found: Check) -> None:
    """Print a table of the labels in use; if they are many, of the most frequent and the rarest ones."""
    used = sorted((one for one in found.labels if one.images), key=lambda one: -one.images)
    half = _MOST_LABELS // 2
    rows = [(printable(one.label), one.images, *one.parts) for one in used]
    if len(rows) > _MOST_LABELS:
        gap = (f"… {len(rows) - 2 * half} more", *("" for _ in rows[0][1:]))
        rows = [*rows[:half], gap, *rows[-half:]]
    if found.labels:
        columns = ("images", *(name for name, _ in found.parts))
        echo_table(("label", *(Column(name, right=True) for name in columns)), rows)
