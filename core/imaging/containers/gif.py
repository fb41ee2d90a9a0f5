"""GIF: keeps the header, the first frame's control block, and everything from that frame on.

Comments before the frame are dropped: Pillow joins them block by block, which takes minutes if a file holds only these.
"""

from __future__ import annotations

import struct

from core.errors import BadImage
from core.imaging import costs, damage
from core.imaging.header import Header

_EXTENSION, _FRAME, _CONTROL = 0x21, 0x2C, 0xF9
_MOST_BLOCKS = 200_000


def read(data: bytes) -> Header:
    """Read the header and the first frame. Raises BadImage if no frame begins, or only after far too many blocks."""
    if len(data) < 13:
        raise BadImage(damage.CUT)
    width, height, flags = struct.unpack_from("<HHB", data, 6)
    start = 13 + (3 << (flags & 7) + 1 if flags & 0x80 else 0)
    control, frame = _first_frame(data, start)
    left, top, across, down = struct.unpack_from("<HHHH", data, frame + 1) if len(data) >= frame + 10 else (0, 0, 0, 0)
    width, height = max(width, left + across), max(height, top + down)
    if not across or not down:
        raise BadImage(damage.CUT if len(data) < frame + 10 else damage.HEADER)
    return Header(
        "GIF",
        width,
        height,
        data[:start] + control + data[frame:],
        pixel_bytes=6,
        seconds=costs.seconds("GIF", width * height, min(len(data), 2 * across * down)),
    )


def _first_frame(data: bytes, position: int) -> tuple[bytes, int]:
    """Return the last control block before the first frame, and where the frame begins."""
    control, blocks = b"", 0
    while position < len(data) and data[position] != _FRAME:
        if data[position] != _EXTENSION:  # padding, or a trailer before any frame
            position += 1
            blocks += 1
        else:
            begin, position = position, position + 2
            while position < len(data) and (size := data[position]):
                position += 1 + size
                blocks += 1
            position += 1
            if data[begin + 1 : begin + 2] == bytes([_CONTROL]):
                control = data[begin:position]
        if blocks > _MOST_BLOCKS:
            raise BadImage(damage.TOO_MANY_PARTS)
    if position >= len(data):
        raise BadImage(damage.CUT)
    return control, position
