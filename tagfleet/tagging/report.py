"""Writes the tags of a batch for people, for spreadsheets, for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TextIO

from core.util import spreadsheets
from core.util.atomic import atomic_path
from tagfleet.client import Item, Tag

_COLUMNS = ("name", "status", "tags", "confidences", "caption", "error")
_NAME_WIDTH = 40


@dataclass(frozen=True, slots=True)
class Wanted:
    """`output` None is standard output. `plain` is for programs: csv without what spreadsheets need."""

    format: str
    output: Path | None
    plain: bool

    @property
    def marked(self) -> bool:
        """Whether csv begins with a byte-order mark: as a file it does, but standard output is read by a program."""
        return self.output is not None and not self.plain


def write(items: Iterable[Item], format: str, out: TextIO, *, plain: bool = False, marked: bool = False) -> None:
    """Write one line for each item, in the order they come; nothing is held.

    `marked` begins csv with a byte-order mark; `plain` leaves its formulas as they are, for programs.
    """
    if format == "csv":
        _csv(items, out, plain=plain, marked=marked)
    else:
        _FORMATS[format](items, out)


@contextmanager
def opened(path: Path | None) -> Iterator[TextIO]:
    """Standard output, or a file that has its name only once it is whole. Raises OSError."""
    if path is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    with atomic_path(path, sole_writer=True) as part, part.open("w", encoding="utf-8", newline="") as file:
        yield file


def _table(items: Iterable[Item], out: TextIO) -> None:
    """Names are padded so that tags stand in a column; a line is never cut, so that it can be searched."""
    for item in items:
        said = _said(item) if item.status == "succeeded" else item.status
        out.write(f"{printable(item.name):<{_NAME_WIDTH}}  {said}\n")


def _said(item: Item) -> str:
    tags = ", ".join(map(_with_confidence, item.tags))
    caption = f"“{printable(item.caption)}”" if item.caption else ""
    return "  ".join(filter(None, (tags, caption))) or "no tag reaches the minimum confidence"


def _csv(items: Iterable[Item], out: TextIO, *, plain: bool, marked: bool) -> None:
    """Tags and confidences are joined by `;`, in the same order.

    Where `;` separates a spreadsheet's cells, as in many languages, each tag is one: each is guarded for itself.
    """
    kept = str if plain else spreadsheets.guarded
    lines = partial(spreadsheets.lines, plain=True, end="\n")
    out.write((spreadsheets.MARK if marked else "") + lines([_COLUMNS]))
    for item in items:
        names = ";".join(kept(tag.name) for tag in item.tags)
        confidences = ";".join("" if tag.confidence is None else f"{tag.confidence:.4f}" for tag in item.tags)
        row = (kept(item.name), item.status, names, confidences, kept(item.caption or ""), kept(item.error or ""))
        out.write(lines([row]))


def _jsonl(items: Iterable[Item], out: TextIO) -> None:
    for item in items:
        out.write(json.dumps(asdict(item), ensure_ascii=False) + "\n")


_FORMATS: dict[str, Callable[[Iterable[Item], TextIO], None]] = {"table": _table, "jsonl": _jsonl}
FORMATS = ("table", "csv", "jsonl")


def _with_confidence(tag: Tag) -> str:
    return tag.name if tag.confidence is None else f"{tag.name} {tag.confidence:.0%}"


def printable(name: str) -> str:
    """Control characters in a file name must not draw on a terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name)
