"""Checks keys by the rules that all stores share. See `core.storage.ports.ObjectStore`."""

from __future__ import annotations

import re

_SEGMENT = re.compile(r"(?!\.\.?\Z)[A-Za-z0-9._-]{1,200}\Z")
_MAX_KEY = 1024


def segments_of(key: str) -> list[str]:
    """Return the segments of a key. Raises ValueError if it is not well-formed."""
    segments = key.split("/")
    if len(key) > _MAX_KEY or not all(map(is_segment, segments)):
        raise ValueError(
            f"store key {key[:80]!r}: up to {_MAX_KEY} characters in segments of up to 200 letters, digits,"
            " '.', '_' and '-', joined by '/'; no segment is empty, '.' or '..'"
        )
    return segments


def is_segment(text: str) -> bool:
    return _SEGMENT.match(text) is not None
