"""The names of tags: as they are kept, and when two of them are one tag."""

from __future__ import annotations

import re
import unicodedata

_NO_TEXT = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ufffe\uffff]+")


def clean_tag(name: str) -> str:
    """A tag as it is kept: composed characters, single spaces, no control characters. Raises ValueError if empty."""
    clean = _NO_TEXT.sub(" ", unicodedata.normalize("NFC", name)).strip()
    if not clean:
        raise ValueError("a tag needs at least one character that can be seen")
    return clean


def tag_key(name: str) -> str:
    """What two names of one tag have in common: `Dog` and `dog` are the same tag."""
    return _NO_TEXT.sub(" ", unicodedata.normalize("NFC", name)).casefold()
