"""Compares file names across systems, and makes names that every file system accepts.

An accented letter may be one character or two (Unicode's NFC and NFD): macOS returns the second form, other systems the
first. Tagfleet keeps names as they were given, and compares them by `same_name`, which maps both forms to one.
"""

from __future__ import annotations

import re
import unicodedata

_FORBIDDEN = re.compile(r'[\x00-\x1f\x7f-\x9f<>:"/\\|?*\u2028\u2029\ud800-\udfff\ufffe\uffff]')
"""Characters that Windows refuses, that separate folders on any system, or that are not text."""

_RESERVED = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[\d¹²³]|lpt[\d¹²³])\s*(\..*)?$", re.IGNORECASE)
"""Names that Windows reserves for devices, with any extension."""

_IGNORED = re.compile("[\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f"
                      "\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufff8\U000e0000-\U000e0fff]")  # fmt: skip
"""Unicode's default ignorable characters, which HFS+ skips when it compares names."""

_LONGEST_ENDING = 16


def same_name(name: str) -> str:
    """Return a form that is equal for all encodings of one name; for comparisons only."""
    return unicodedata.normalize("NFC", name)


def colliding_name(name: str) -> str:
    """Return a form that is equal for names that some file system may confuse: by case, forms or invisible characters.

    Names with different forms are different files on Windows, macOS and Linux. Each of these confuses fewer names.
    """
    folded = _IGNORED.sub("", unicodedata.normalize("NFKD", name)).upper().casefold()
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKD", folded).casefold())


def safe_part(part: str, longest: int) -> str:
    """Return `part` as a file or folder name that any system accepts, of at most `longest` + 1 bytes of UTF-8.

    Returns "" if no character is left. A name that is cut keeps its extension.
    """
    clean = _FORBIDDEN.sub("_", part).strip().rstrip(". ")
    stem, dot, ending = clean.rpartition(".")
    if stem and len(clean.encode()) > longest and len(ending.encode()) <= _LONGEST_ENDING:
        clean = _cut(stem, longest - len(ending.encode()) - 1) + dot + ending
    clean = _cut(clean, longest)
    return f"_{clean}" if _RESERVED.match(clean) else clean


def _cut(text: str, longest: int) -> str:
    return text.encode()[:longest].decode(errors="ignore").rstrip(". ")
