"""PNG: drops chunks that no picture needs, and closes a file that stops within its last pixels."""

from __future__ import annotations

import struct
import zlib

from core.errors import BadImage
from core.imaging import costs, damage
from core.imaging.header import Header

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_MOST_CHUNKS = 100_000
_MOST_METADATA_BYTES = 4_000_000
_NEEDED = {b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"gAMA", b"cHRM", b"sRGB"}
_METADATA = {b"iCCP", b"eXIf", b"tEXt", b"zTXt", b"iTXt"}
_ORIENTATION_TEXTS = {b"XML:com.adobe.xmp", b"Raw profile type exif"}
"""Keywords of texts that may hold the orientation."""
_MOST_INFLATED = 1_000_000
_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_INTERLACED_FACTOR = 1.5


def read(data: bytes) -> Header:
    """Read the header and drop needless chunks. Raises BadImage if the header is bad, or for far too many chunks."""
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise BadImage(damage.CUT if len(data) < 33 else damage.HEADER)
    width, height, depth, kind, _, _, interlaced = struct.unpack_from(">IIBBBBB", data, 16)
    if kind not in _CHANNELS or not width or not height:
        raise BadImage(damage.HEADER)
    rebuilt, transparent = _rebuilt(data)
    pixels = width * height
    raw = pixels * _CHANNELS[kind] * depth / 8
    factor = _INTERLACED_FACTOR if interlaced else 1.0
    return Header(
        "PNG",
        width,
        height,
        rebuilt,
        pixel_bytes=5 + (4 if transparent and kind in (0, 2) else 0),
        seconds=factor * costs.seconds("PNG", pixels, min(len(data), int(raw) + 1)),
    )


def _rebuilt(data: bytes) -> tuple[bytes, bool]:
    """Return the file with the needed chunks only, closed by an IEND, and whether one of them is a tRNS."""
    kept: list[bytes | memoryview] = [SIGNATURE]
    view, position, chunks, metadata, dropped, transparent = memoryview(data), 8, 0, 0, False, False
    while position + 8 <= len(data):
        chunks += 1
        if chunks > _MOST_CHUNKS:
            raise BadImage(damage.TOO_MANY_PARTS)
        size, kind = int.from_bytes(data[position : position + 4]), data[position + 4 : position + 8]
        end = position + 12 + size
        if kind == b"IEND":
            break
        if end > len(data):
            if kind == b"IDAT":
                kept.append(_closed(kind, data[position + 8 :][:size]))
            dropped = True
            break
        transparent |= kind == b"tRNS"
        if kind in _METADATA:
            metadata += size
            keep = metadata <= _MOST_METADATA_BYTES and _is_readable(kind, data[position + 8 : end - 4])
        else:
            keep = kind in _NEEDED or not kind[0] & 0x20  # a lower-case first letter marks a chunk that may be ignored
        if keep:
            kept.append(view[position:end])
        dropped |= not keep
        position = end
    else:
        dropped = True  # no IEND
    if not dropped:
        return data, transparent
    return b"".join([*kept, _closed(b"IEND", b"")]), transparent


def _is_readable(kind: bytes, body: bytes) -> bool:
    """Return whether a decoder needs and accepts a chunk of metadata. Pillow fails on texts of more than a megabyte."""
    if kind == b"eXIf":
        return True
    name, _, rest = body.partition(b"\0")
    if kind == b"iCCP" or (kind == b"zTXt" and name in _ORIENTATION_TEXTS):
        inflater = zlib.decompressobj()
        try:
            return len(inflater.decompress(rest[1:], _MOST_INFLATED + 1)) <= _MOST_INFLATED and inflater.eof
        except zlib.error:
            return False
    return name in _ORIENTATION_TEXTS and len(rest) <= _MOST_INFLATED and (kind == b"tEXt" or rest[:1] == b"\0")


def _closed(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
