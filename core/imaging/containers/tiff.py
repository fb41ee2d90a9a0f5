"""TIFF and BigTIFF: reads the first directory, and counts its strips or tiles.

It never reads later directories, so a chain of them costs nothing. It skips values beyond the end of the file.
"""

from __future__ import annotations

import struct

from PIL import TiffImagePlugin

from core.errors import BadImage
from core.imaging import costs, damage
from core.imaging.header import Header

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of one value of each type."""
_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _STRIPS, _SAMPLES, _ROWS = 256, 257, 258, 259, 273, 277, 278
_TILE_WIDTH, _TILE_HEIGHT, _TILES = 322, 323, 324
_MOST_PARTS = 1_000_000
_RAW, _JPEG = 1, (6, 7)

_Tags = dict[int, tuple[int, int]]
"""Tag → the number of its values, and the first of them if it is a whole number, else 0."""

# Formats that Pillow can decode and does not list: (byte order, photometric, sample format, fill order, bits, extra).
# If no raw mode of Pillow inverts WhiteIsZero (0), `deep` does.
for _order, _big in ((TiffImagePlugin.II, ""), (TiffImagePlugin.MM, "B")):
    for _photometric in (0, 1):
        for _format, _bits, _mode, _raw in (
            (1, 12, "I;16", "I;12"),
            (1, 16, f"I;16{_big}", f"I;16{_big}"),
            (2, 8, "L", "L" if _photometric else "L;I"),
            (2, 16, "I", f"I;16{_big}S"),
            (1, 32, "I", f"I;32{_big}S"),
            (2, 32, "I", f"I;32{_big}S"),
            (3, 32, "F", f"F;32{_big}F"),
            (3, 64, "F", f"F;64{_big}F"),
        ):
            TiffImagePlugin.OPEN_INFO.setdefault((_order, _photometric, (_format,), 1, (_bits,), ()), (_mode, _raw))


def read(data: bytes) -> Header:
    """Read the first directory. Raises BadImage if it is cut, or describes more strips than any picture has."""
    tags = _tags(data)
    width, height = _first(tags, _WIDTH), _first(tags, _HEIGHT)
    if not width or not height:
        raise BadImage(damage.HEADER)
    sample_bytes = max(1, -(-_first(tags, _BITS, 1) // 8)) * max(1, min(_first(tags, _SAMPLES, 1), 16))
    if _TILES in tags:
        parts, across, down = tags[_TILES][0], _first(tags, _TILE_WIDTH), _first(tags, _TILE_HEIGHT)
    else:
        rows = _first(tags, _ROWS, height) or height
        parts, across, down = tags.get(_STRIPS, (1, 0))[0], width, min(height, rows)
    if parts > _MOST_PARTS:
        raise BadImage(damage.TOO_MANY_PARTS)
    if not across or not down:
        raise BadImage(damage.HEADER)
    pixels = width * height
    covered = max(pixels, min(parts, -(-width // across) * -(-height // down)) * across * down)
    compression = _first(tags, _COMPRESSION, _RAW)
    scans = data.count(b"\xff\xda") if compression in _JPEG else 0
    return Header(
        "TIFF",
        width,
        height,
        data,
        pixel_bytes=9,
        seconds=costs.seconds("TIFF", covered, min(len(data), covered * sample_bytes), parts)
        + scans * across * down * 3 * costs.SCAN_SAMPLE_NS / 1e9,
        extra_bytes=across * down * sample_bytes if compression != _RAW else 0,
    )


def _tags(data: bytes) -> _Tags:
    order = "<" if data[:2] == b"II" else ">"
    big = 43 in data[2:4]
    entry, inline = (order + "HHQ8s", 8) if big else (order + "HHI4s", 4)
    try:
        (start,) = struct.unpack_from(order + ("Q" if big else "I"), data, 8 if big else 4)
        (count,) = struct.unpack_from(order + ("Q" if big else "H"), data, start)
        start += 8 if big else 2
        entries = list(struct.iter_unpack(entry, data[start : start + min(count, 65_536) * struct.calcsize(entry)]))
    except (struct.error, OverflowError):
        raise BadImage(damage.CUT) from None
    if count > 65_535:
        raise BadImage(damage.TOO_MANY_PARTS)
    tags: _Tags = {}
    for tag, kind, values, body in entries:
        size = _SIZES.get(kind, 1) * values
        if size > inline:
            (place,) = struct.unpack(order + ("Q" if big else "I"), body)
            body = data[place : place + 8]
        letter = _NUMBERS.get(kind)
        number = 0
        if letter and values and len(body) >= struct.calcsize(letter):
            (number,) = struct.unpack_from(order + letter, body)
        tags[tag] = (values, number)
    return tags


def _first(tags: _Tags, tag: int, otherwise: int = 0) -> int:
    return tags[tag][1] if tag in tags else otherwise
