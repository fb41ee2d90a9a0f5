"""Lay out the tables of the command with rich.

On a terminal a table fits the terminal's width: long cells wrap, and no text is cut. In a pipe each row is one line
without colours, box characters or trailing blanks; two or more blanks separate its cells.
"""

from __future__ import annotations

import io
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import click

_UNLIMITED = 100_000
_GAP = 2


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table. `right`, meant for numbers, aligns it to the right and prevents wrapping."""

    header: str = ""
    right: bool = False


Columns = Sequence[Column | str]
"""A string is a column of text with that header."""


def echo_table(columns: Columns, rows: Iterable[Sequence[object]], *, indent: int = 0) -> None:
    """Print a table, as wide as the terminal if there is one; see `table_lines`."""
    for line in table_lines(columns, rows, width=terminal_width(), indent=indent):
        click.echo(line)


def terminal_width() -> int | None:
    """Return the terminal's width, or None if standard output is a pipe or a file."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def table_lines(
    columns: Columns, rows: Iterable[Sequence[object]], *, width: int | None, indent: int = 0
) -> Iterator[str]:
    """Yield the lines of a table of at most `width` characters (None: any width), indented by `indent` blanks.

    If no column has a header, the table starts with its first row.
    """
    from rich.console import Console  # a tenth of a second that commands without tables need not wait for
    from rich.table import Table
    from rich.text import Text

    made = [Column(column) if isinstance(column, str) else column for column in columns]
    table = Table(box=None, show_header=any(column.header for column in made), pad_edge=False, padding=(0, _GAP, 0, 0))
    for column in made:
        table.add_column(
            Text(column.header),
            justify="right" if column.right else "left",
            no_wrap=column.right,
            overflow="fold",
            header_style="none",
        )
    for row in rows:
        table.add_row(*(Text(str(cell)) for cell in row))
    out = io.StringIO()
    room = _UNLIMITED if width is None else max(1, width - indent)
    console = Console(file=out, width=room, color_system=None, highlight=False, legacy_windows=False)
    console.print(table)
    for line in out.getvalue().splitlines():
        yield (" " * indent + line).rstrip()
