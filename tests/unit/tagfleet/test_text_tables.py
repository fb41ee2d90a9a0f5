"""Tables wrap on a terminal, and have one line for each row in a pipe."""

from __future__ import annotations

from tagfleet.text_tables import Column, table_lines

COLUMNS = ["worker", "pool", Column("done", right=True)]
ROWS = [
    ("i-0123456789abcdef0", "a pool with quite a long name that somebody chose", 12),
    ("w-2", "pets", 134_000),
]


def test_in_a_pipe_a_row_is_one_line() -> None:
    assert list(table_lines(COLUMNS, ROWS, width=None)) == [
        "worker               pool                                                 done",
        "i-0123456789abcdef0  a pool with quite a long name that somebody chose      12",
        "w-2                  pets                                               134000",
    ]


def test_on_a_narrow_terminal_cells_wrap_and_nothing_is_cut() -> None:
    lines = list(table_lines(COLUMNS, ROWS, width=50, indent=2))
    assert max(map(len, lines)) <= 50
    assert "…" not in "".join(lines)
    words = " ".join(lines).split()
    assert {"i-0123456789abcdef0", "somebody", "chose", "134000"} <= set(words)


def test_a_name_longer_than_the_terminal_is_folded() -> None:
    lines = list(table_lines(["name"], [["x" * 30]], width=20))
    assert "".join(lines) == "name" + "x" * 30


def test_without_headers_there_is_no_line_for_them() -> None:
    assert list(table_lines([Column(), Column()], [("[red]a[/]", "b")], width=80)) == ["[red]a[/]  b"]
