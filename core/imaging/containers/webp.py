"""WebP: reads the chunks of a RIFF file, whose stated length may be wrong. It keeps an animation's first frame only."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from core.errors import BadImage
from core.imaging import costs, damage
from core.imaging.header import Header

_MOST_CHUNKS = 100_000
_MOST_METADATA_BYTES = 4_000_000
_PICTURES = (b"ANMF", b"VP8 ", b"VP8L", b"ALPH")
_HEAD = 12


def read(data: bytes) -> Header:
    """Read the chunks, and drop needless ones. Raises BadImage if there is no picture."""
    kept: list[bytes] = []
    size = (0, 0)
    pictured = False
    for kind, body in _chunks(data):
        size = max(size, _size(kind, body), key=lambda it: it[0] * it[1])
        if kind in (b"ANMF", b"VP8 ", b"VP8L"):
            if not pictured:
                kept.append(_chunk(kind, body))
            pictured = True
        elif kind in (b"VP8X", b"ALPH", b"ANIM") or (
            kind in (b"ICCP", b"EXIF", b"XMP ") and len(body) <= _MOST_METADATA_BYTES
        ):
            kept.append(_chunk(kind, body))
    if not pictured or not size[0] * size[1]:
        raise BadImage(damage.CUT)
    joined = b"WEBP" + b"".join(kept)
    rebuilt = b"RIFF" + struct.pack("<I", len(joined)) + joined
    return Header(
        "WEBP",
        *size,
        data if len(rebuilt) == len(data) and rebuilt == data else rebuilt,
        pixel_bytes=9,
        seconds=costs.seconds("WEBP", size[0] * size[1], min(len(rebuilt), 4 * size[0] * size[1])),
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Yield kinds and bodies. Raises BadImage if one is cut; padding at the end may be missing."""
    position = _HEAD
    for _ in range(_MOST_CHUNKS):
        if position + 8 > len(data):
            return
        kind, size = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        if not kind.isascii() or not all(32 <= letter < 127 for letter in kind):
            return  # not a chunk: the picture has ended
        body = data[position + 8 : position + 8 + size]
        if len(body) < size and kind in _PICTURES:
            raise BadImage(damage.CUT)
        yield kind, body
        position += 8 + size + (size & 1)
    raise BadImage(damage.TOO_MANY_PARTS)


def _chunk(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) & 1)


def _size(kind: bytes, body: bytes) -> tuple[int, int]:
    if kind == b"VP8X" and len(body) >= 10:
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if kind == b"VP8 " and len(body) >= 10:
        width, height = struct.unpack_from("<HH", body, 6)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L" and len(body) >= 5:
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    return 0, 0
