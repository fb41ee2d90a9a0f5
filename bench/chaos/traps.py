"""Images that attack their decoder: scan bombs, and files marked to hang or crash it."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

INSIDE = Path(__file__).with_name("inside")
"""Holds the module that sets the traps, and a process's clock, as Python starts."""
HANGS = b"this image hangs its decoder"
CRASHES = b"this image ends its process"

_FOLDER = "traps/"
_SCAN = bytes.fromhex("ffda 0008 0101 0001 3f00") + bytes(16)


def with_inside(environ: Mapping[str, str], **more: str) -> dict[str, str]:
    """The environment of Python processes that import `inside`, with the variables that it reads."""
    path = os.pathsep.join(filter(None, (str(INSIDE), environ.get("PYTHONPATH"))))
    return {**environ, "PYTHONPATH": path, **more}


def trapped(environ: Mapping[str, str]) -> dict[str, str]:
    """The environment in which marked images hang or crash a worker's decoders."""
    return with_inside(environ, IMAGE_TRAPS="1")


def scan_bomb(side: int = 8000, scans: int = 5000) -> bytes:
    """A progressive JPEG of one grey component whose scans are all empty: each has a decoder visit every block.

    26 bytes a scan; with the defaults 130 kB keep libjpeg busy for minutes.
    """
    size = side.to_bytes(2, "big")
    table = bytes.fromhex("ffdb 0043 00") + b"\1" * 64
    frame = bytes.fromhex("ffc2 000b 08") + size + size + bytes.fromhex("01 01 11 00")
    codes = b"".join(bytes.fromhex("ffc4 0014") + bytes([kind, 1]) + bytes(16) for kind in (0x00, 0x10))
    first = bytes.fromhex("ffda 0008 0101 0000 0000") + bytes(16)
    return b"\xff\xd8" + table + frame + codes + first + _SCAN * scans + b"\xff\xd9"


def marked(image: bytes, mark: bytes) -> bytes:
    """The JPEG with a mark in an APP0 segment, which is kept for decoders, and which they skip."""
    return image[:2] + b"\xff\xe0" + (len(mark) + 2).to_bytes(2, "big") + mark + image[2:]


def is_trap(name: str) -> bool:
    """Return whether `among` made the image, by its file name."""
    return name.startswith(_FOLDER)


def among(photos: Sequence[tuple[str, bytes]], count: int) -> list[tuple[str, bytes]]:
    """Return the photos with `count` traps spread evenly among them, of each kind in turn.

    The marked ones look like photos.
    """
    kinds = (
        ("bomb", lambda _photo, number: scan_bomb() + number.to_bytes(4, "big")),
        ("hang", lambda photo, number: marked(photo, HANGS + number.to_bytes(4, "big"))),
        ("crash", lambda photo, number: marked(photo, CRASHES + number.to_bytes(4, "big"))),
    )
    mixed = list(photos)
    for number in reversed(range(count)):
        kind, make = kinds[number % len(kinds)]
        at = number * len(photos) // count
        mixed.insert(at, (f"{_FOLDER}{kind}-{number:03}.jpg", make(photos[at][1], number)))
    return mixed
