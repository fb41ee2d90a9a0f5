"""`tagfleet export BATCH`: write the tags of a batch."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain, count
from pathlib import Path
from typing import BinaryIO

import click

from config import settings as config
from core.util.atomic import atomic_path, part_beside
from tagfleet.cli.common import api_key_option, service_url, url_option
from tagfleet.client import Client, ClientError

_FORMATS = ("csv", "jsonl", "coco", "xmp")


@click.command("export")
@click.argument("batch")
@click.option("--format", type=click.Choice(_FORMATS), default="csv", show_default=True)
@click.option(
    "--output",
    type=click.Path(path_type=Path),
    help="write to this file, or into this folder under the batch's title, instead of stdout",
)
@click.option("--plain", is_flag=True, help="csv for programs: no byte-order mark, formulas unescaped")
@url_option
@api_key_option
def command(batch: str, format: str, output: Path | None, plain: bool, url: str | None, api_key: str | None) -> None:
    """Write a batch's tags as csv, JSON lines, COCO or XMP sidecars.

    COCO is one JSON document, and XMP is a zip with one sidecar per photo.
    """
    if format == "xmp" and output is None and sys.stdout.isatty():
        raise click.UsageError("a zip cannot be shown on a terminal: name a file with --output")
    settings = config.load(os.environ)
    try:
        with Client(service_url(url, settings), api_key=api_key) as client:
            if output is not None and output.is_dir():
                made = _into(output, lambda out: client.export(batch, format, out, plain=plain))
                click.echo(made, err=True)
            else:
                with _opened(output) as out:
                    client.export(batch, format, out, plain=plain)
    except ClientError as error:
        raise click.ClickException(str(error)) from None
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except OSError as error:
        raise click.ClickException(f"{error.filename or 'output'}: {error.strerror}") from None


@contextmanager
def _opened(path: Path | None) -> Iterator[BinaryIO]:
    """Open standard output, or a file that gets its name only when it is complete."""
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.flush()
        return
    with atomic_path(path, sole_writer=True) as part, part.open("wb") as file:
        yield file


def _into(folder: Path, write: Callable[[BinaryIO], str]) -> Path:
    """Write a new file under the name that `write` returns, and return its path. Raises OSError."""
    with part_beside(folder / "export") as part:
        with part.open("wb") as file:
            name = write(file)
        made = _unused(folder / name)
        part.replace(made)
    return made


def _unused(path: Path) -> Path:
    """Return `path`, numbered as browsers do if it exists already."""
    numbered = (path.with_name(f"{path.stem} ({number}){path.suffix}") for number in count(2))
    return next(one for one in chain([path], numbered) if not one.exists())
