"""Samples photos that people uploaded, to make and to measure an int8 form on what the fleet really tags."""

from __future__ import annotations

import hashlib
import heapq
import itertools
from pathlib import Path

from core.errors import DataInvalid, NotFound
from core.storage import layout
from core.storage.ports import ObjectStore

MOST = 1000
_LISTED = 100_000


def copy(store: ObjectStore, folder: Path, *, least: int, most: int) -> int:
    """Copy a sample of the uploads into a new folder, and return their number.

    Raises DataInvalid if there are fewer than `least`, Unavailable. The sample is random and repeatable: the uploads
    with the lowest SHA-256 of their keys, among the first 100,000.
    """
    listed = (info.key for info in itertools.islice(store.list(layout.UPLOADS), _LISTED))
    chosen = heapq.nsmallest(most, listed, key=_draw)
    folder.mkdir()
    copied = 0
    for number, key in enumerate(chosen):
        try:
            (folder / f"{number:04}").write_bytes(store.get(key).data)
            copied += 1
        except NotFound:
            continue  # its batch was deleted meanwhile
    if copied < least:
        raise DataInvalid(f"the store holds {copied} uploaded photos, and this measurement needs {least}")
    return copied


def _draw(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()
