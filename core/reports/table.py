"""Builds tables as HTML."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from html import escape


def build_table(
    rows: Iterable[Sequence[object]],
    head: Sequence[str] = (),
    *,
    numbers_from: int | None = None,
    is_strong: Callable[[int], bool] = lambda _row: False,
) -> str:
    """Return the table; every cell and heading is text.

    Numbers are aligned to the right, and so are all columns from `numbers_from` on. A row is bold if `is_strong` says
    so for its number, from 0.
    """

    def cell(tag: str, column: int, value: object) -> str:
        number = isinstance(value, int | float) or (numbers_from is not None and column >= numbers_from)
        return f"<{tag}{' class=number' if number else ''}>{escape(str(value))}</{tag}>"

    def line(tag: str, cells: Sequence[object], strong: bool = False) -> str:
        inside = "".join(cell(tag, column, value) for column, value in enumerate(cells))
        return f"<tr{' class=strong' if strong else ''}>{inside}</tr>"

    top = [line("th", head)] if head else []
    return "\n".join(
        ("<table>", *top, *(line("td", row, is_strong(number)) for number, row in enumerate(rows)), "</table>")
    )
