"""BMP, with its file header or without (DIB)."""

from __future__ import annotations

import struct

from core.errors import BadImage
from core.imaging import costs, damage
from core.imaging.header import Header

DIB_HEADERS = (12, 40, 52, 56, 64, 108, 124)
_RLE = (1, 2)


def read_bmp(data: bytes) -> Header:
    """Read the header after the file header. Raises BadImage if it is too short or makes no sense."""
    return _read(data, 14, "BMP")


def read_dib(data: bytes) -> Header:
    """Read the header of a file without a file header. Raises BadImage if it is too short or makes no sense."""
    return _read(data, 0, "DIB")


def _read(data: bytes, start: int, format: str) -> Header:
    try:
        (size,) = struct.unpack_from("<I", data, start)
        compression = 0
        if size == 12:
            width, height, _, bits = struct.unpack_from("<HHHH", data, start + 4)
        else:
            width, height, _, bits, compression = struct.unpack_from("<iiHHI", data, start + 4)
    except struct.error:
        raise BadImage(damage.CUT) from None
    width, height = abs(width), abs(height)
    if not width or not height or size not in DIB_HEADERS:
        raise BadImage(damage.HEADER)
    coded = compression in _RLE and bits in (4, 8)
    slow = (len(data) * costs.RLE_BYTE_NS + width * height * costs.RLE_PIXEL_NS) / 1e9 if coded else 0.0
    raw = width * height * bits // 8
    return Header(
        format,
        width,
        height,
        data,
        pixel_bytes=9 if bits in (16, 32) else 6,
        seconds=costs.seconds(format, width * height, min(len(data), raw)) + slow,
    )
