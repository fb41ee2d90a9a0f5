"""Make images that harm a decoder: scan bombs, and files whose mark makes the decoder hang or crash."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

INSIDE = Path(__file__).with_name("inside")
"""Folder of the module that arms the traps and skews the clock when Python starts."""
HANGS = b"this image hangs its decoder"
CRASHES = b"this image ends its process"

_FOLDER = "traps/"
_SCAN = bytes.fromhex("ffda 0008 0101 0001 3f00") + bytes(16)


def with_inside(environ: Mapping[str, str], **more: str) -> dict[str, str]:
    """Return an environment whose Python processes import `inside`, which reads the variables in `more`."""
    path = os.pathsep.join(filter(None, (str(INSIDE), environ.get("PYTHONPATH"))))
    return {**environ, "PYTHONPATH": path, **more}


def trapped(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which marked images hang or crash a worker's decoders."""
    return with_inside(environ, IMAGE_TRAPS="1")


def scan_bomb(side: int = 8000, scans: int = 5000) -> bytes:
    """Make a progressive grey JPEG with empty scans. A decoder visits every block for each of them.

    A scan takes 26 bytes; with the defaults 130 kB keep libjpeg busy for minutes.
    """
    size = side.to_bytes(2, "big")
    table = bytes.fromhex("ffdb 0043 00") + b"\1" * 64
    frame = bytes.fromhex("ffc2 000b 08") + size + size + bytes.fromhex("01 01 11 00")
    codes = b"".join(bytes.fromhex("ffc4 0014") + bytes([kind, 1]) + bytes(16) for kind in (0x00, 0x10))
    first = bytes.fromhex("ffda 0008 0101 0000 0000") + bytes(16)
    return b"\xff\xd8" + table + frame + codes + first + _SCAN * scans + b"\xff\xd9"


def marked(image: bytes, mark: bytes) -> bytes:
    """Return the JPEG with a mark in an APP0 segment, which decoders skip."""
    return image[:2] + b"\xff\xe0" + (len(mark) + 2).to_bytes(2, "big") + mark + image[2:]


def is_trap(name: str) -> bool:
    """Tell from a file's name whether `among` made it."""
    return name.startswith(_FOLDER)


def among(photos: Sequence[tuple[str, bytes]], count: int) -> list[tuple[str, bytes]]:
    """Return the photos with `count` harmful images spread evenly among them, each kind in turn.

    The marked ones are copies of photos.
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
