"""Write the tags of a batch as a table, as csv for spreadsheets, or as JSON lines for programs."""

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
class OutputOptions:
    """How to write tags. `output` None is standard output; `plain` is csv for programs, not for spreadsheets."""

    format: str
    output: Path | None
    plain: bool

    @property
    def marked(self) -> bool:
        """Whether csv begins with a byte-order mark: in a file, unless `plain`, but not on standard output."""
        return self.output is not None and not self.plain


def write(items: Iterable[Item], format: str, out: TextIO, *, plain: bool = False, marked: bool = False) -> None:
    """Write one line for each item, in order, without keeping the items in memory.

    `marked` begins csv with a byte-order mark; `plain` leaves formulas in csv unescaped.
    """
    if format == "csv":
        _csv(items, out, plain=plain, marked=marked)
    else:
        _FORMATS[format](items, out)


@contextmanager
def opened(path: Path | None) -> Iterator[TextIO]:
    """Open standard output, or a file that gets its name only when it is complete. Raises OSError."""
    if path is None:
        yield sys.stdout
        sys.stdout.flush()
        return
    with atomic_path(path, sole_writer=True) as part, part.open("w", encoding="utf-8", newline="") as file:
        yield file


def _table(items: Iterable[Item], out: TextIO) -> None:
    """Write names padded to one width, then tags. Lines are never cut, so that people can search them."""
    for item in items:
        said = _said(item) if item.status == "succeeded" else item.status
        out.write(f"{printable(item.name):<{_NAME_WIDTH}}  {said}\n")


def _said(item: Item) -> str:
    tags = ", ".join(map(_with_confidence, item.tags))
    caption = f"“{printable(item.caption)}”" if item.caption else ""
    return "  ".join(filter(None, (tags, caption))) or "no tag reaches the minimum confidence"


def _csv(items: Iterable[Item], out: TextIO, *, plain: bool, marked: bool) -> None:
    """Write tags and confidences joined by `;`, in the same order.

    In many languages `;` separates a spreadsheet's cells, so each tag may become a cell. Each one is escaped by itself.
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
    """Replace control characters in a file name, because they would control the terminal."""
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in name)
