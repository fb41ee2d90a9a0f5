"""The parts of every HTML report."""

from __future__ import annotations

from core.reports.page import build_page
from core.reports.plot import draw_svg, escape_formula, thin_points
from core.reports.table import build_table


def test_a_page_escapes_its_title_and_needs_nothing_else() -> None:
    page = build_page("a < b", ["<p>c</p>"])
    assert "<title>a &lt; b</title>" in page
    assert "<p>c</p>" in page
    assert "http" not in page


def test_numbers_are_to_the_right_and_everything_is_text() -> None:
    table = build_table([["<x>", 3], ["y", "4.0"]], ["name", "n"], numbers_from=1, is_strong=lambda row: row == 1)
    assert "<td>&lt;x&gt;</td><td class=number>3</td>" in table
    assert "<th>name</th><th class=number>n</th>" in table
    assert "<tr class=strong><td>y</td><td class=number>4.0</td></tr>" in table
    assert "<th" not in build_table([["a"]])


def test_the_same_plot_gives_the_same_svg_without_an_xml_head() -> None:
    one, other = (draw_svg(2, 1, lambda figure: figure.subplots().plot([0, 1], [1, 0])) for _ in range(2))
    assert one == other
    assert one.startswith("<svg")


def test_thinned_points_keep_both_ends() -> None:
    points = [(float(at), 0.0) for at in range(10_000)]
    thinned = thin_points(points)
    assert len(thinned) == 400
    assert (thinned[0], thinned[-1]) == (points[0], points[-1])
    assert thin_points(points[:3]) == points[:3]


def test_a_dollar_begins_no_formula() -> None:
    assert escape_formula("$1") == r"\$1"
