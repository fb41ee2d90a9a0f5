"""Normalises the names of tags, and recognises spellings of the same tag."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_NO_TEXT = re.compile(r"[\s\x00-\x1f\x7f-\x9f\ufffe\uffff]+")


def clean_tag(name: str) -> str:
    """Return a tag as it is stored: composed characters, single spaces, no control characters. Raises ValueError."""
    clean = _NO_TEXT.sub(" ", unicodedata.normalize("NFC", name)).strip()
    if not clean:
        raise ValueError("a tag needs at least one character that can be seen")
    return clean


@lru_cache(maxsize=4096)  # the same labels come with every image
def tag_key(name: str) -> str:
    """Return a key that is equal for all spellings of one tag, such as `Dog` and `dog`."""
    return _NO_TEXT.sub(" ", unicodedata.normalize("NFC", name)).casefold()
