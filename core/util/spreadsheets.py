"""Writes CSV that spreadsheets open as text: in the right encoding, and without running any cell as a formula.

1. Excel reads a file without a byte-order mark in the machine's old code page, so `MARK` comes first.
2. A cell that begins with = + - @ is a formula. Spreadsheets, and the ways by which text gets into them, skip spaces
   and invisible characters before these signs and accept full-width forms, so these count too. `guarded` puts an
   apostrophe before such a cell; `unguarded` removes it again.

Files for programs need neither: they hold the text unchanged, without a mark.
"""

from __future__ import annotations

import csv
import io
import unicodedata
from collections.abc import Iterable, Sequence

MARK = "\ufeff"
"""U+FEFF, the byte-order mark."""

_GUARD = "'"
_FORMULA = frozenset("=+-@\N{MINUS SIGN}")
_STARTS = frozenset("\t\r\n\v\f\0")
"""Characters that some programs take for the end of a cell, or for the start of a formula."""

_INVISIBLE = frozenset(
    {
        *("\N{HANGUL CHOSEONG FILLER}", "\N{HANGUL JUNGSEONG FILLER}", "\N{HANGUL FILLER}"),
        *("\N{HALFWIDTH HANGUL FILLER}", "\N{BRAILLE PATTERN BLANK}"),
    }
)
_PASSED_OVER = ("Z", "C", "M")
"""Unicode's general categories that are skipped: separators (Z), control, format, private and unassigned characters
(C), and marks (M), which include variation selectors."""


def guarded(text: str) -> str:
    """Return `text` as a cell that no spreadsheet runs. Text that cannot run is unchanged."""
    return _GUARD + text if _runs(text) else text


def unguarded(text: str) -> str:
    """Return the original of a text that `guarded` returned."""
    return text[1:] if text.startswith(_GUARD) and _runs(text) else text


def lines(rows: Iterable[Sequence[object]], *, plain: bool = False, end: str = "\r\n") -> str:
    """Return rows as lines of RFC 4180, None as an empty cell. Text is guarded unless the file is `plain`."""
    text = io.StringIO(newline="")
    written = csv.writer(text, lineterminator=end)
    written.writerows(rows if plain else (map(_cell, row) for row in rows))
    return text.getvalue()


def _cell(value: object) -> object:
    return guarded(value) if isinstance(value, str) else value


def _runs(text: str) -> bool:
    """Return whether `text` may run as a formula. Leading apostrophes do not count, so that guarding can be undone."""
    bare = text.lstrip(_GUARD)
    if bare[:1] in _STARTS and bare:
        return True
    for character in bare:
        for plain in unicodedata.normalize("NFKC", character):
            if plain in _FORMULA:
                return True
            if plain not in _INVISIBLE and not unicodedata.category(plain).startswith(_PASSED_OVER):
                return False
    return False
