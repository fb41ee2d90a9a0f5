"""CSV that a spreadsheet opens as text: nothing runs, nothing is garbled, and nothing is lost on the way back."""

from __future__ import annotations

import csv
import io
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.util.spreadsheets import guarded, lines, unguarded

BEFORE = [
    *("", " ", "  ", "\u00a0", "\u2003", "\u3000", "\u200b", "\u200d", "\u2060", "\ufeff", "\u00ad", "\u202e"),
    *("\t", "\r", "\n", "\r\n", "\v", "\f", "\0", "\x1f", "\x7f", "\u0085", "\u2028", "\ufe0f", "\u034f", "\u180e"),
    *("\u3164", "\uffa0", "\u115f", "\u2800", "\U000e0020", "'", "''", " \u200b "),
]
SIGNS = [*"=+-@", *"＝＋－＠", *"﹦﹢﹣﹫", *"⁼⁺⁻", *"₌₊₋", "\u2212"]


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("before", BEFORE, ids=ascii)
def test_a_formula_is_guarded_whatever_stands_before_it(before, sign):
    text = f"{before}{sign}1+1"
    assert guarded(text) == f"'{text}"
    assert unguarded(guarded(text)) == text


@pytest.mark.parametrize("text", ["\t", "\tdog", "\rdog", "\ndog"])
def test_what_ends_a_cell_is_guarded(text):
    assert guarded(text) == f"'{text}"


@pytest.mark.parametrize(
    "text", ["", "dog", " dog", "a=b", "2+2", "it's", "'tis", "'", "e-mail", "é", "犬", "#1", "1.5"]
)
def test_plain_text_stays_as_it_is(text):
    assert guarded(text) == unguarded(text) == text


texts = st.text() | st.tuples(st.sampled_from(BEFORE), st.sampled_from(SIGNS), st.text()).map("".join)


@given(texts)
def test_what_is_read_back_is_what_was_written(text):
    assert unguarded(guarded(text)) == text


@given(texts)
def test_no_cell_begins_as_a_formula(text):
    """As a program may see it that normalises text and passes over what cannot be seen."""
    seen = "".join(c for c in unicodedata.normalize("NFKC", guarded(text)) if unicodedata.category(c)[0] not in "ZCM")
    assert not seen.startswith(("=", "+", "-", "@"))
    assert not guarded(text).startswith(("\t", "\r", "\n"))


@given(st.lists(st.lists(texts.filter(lambda text: "\0" not in text), min_size=2, max_size=3), max_size=5))
def test_lines_are_read_by_the_csv_module(rows):
    for plain in (False, True):
        read = list(csv.reader(io.StringIO(lines(rows, plain=plain), newline="")))
        assert [[text if plain else unguarded(text) for text in row] for row in read] == rows


def test_numbers_stay_numbers():
    assert lines([("-1", -1, None, 0.5)]) == "'-1,-1,,0.5\r\n"
    assert lines([("-1", -1, None, 0.5)], plain=True) == "-1,-1,,0.5\r\n"
