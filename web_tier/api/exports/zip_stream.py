"""Write a zip archive of any number of small files as a stream, in flat memory.

A zip file ends with a directory that repeats the name, checksum, sizes and place of each entry. `zipfile` keeps it as
objects in memory, hundreds of bytes for each entry; here its records wait in a temporary file, as they will be written.

Format: PKWARE's APPNOTE.TXT 6.3. An entry is complete when its header is written, so that readers of a stream need no
data descriptors. Zip64 is used where the directory needs it: beyond 65,534 entries or 4 GiB.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from tempfile import SpooledTemporaryFile

DateTime = tuple[int, int, int, int, int, int]
"""Year from 1980 to 2107, month, day, hour, minute, second."""

_LOCAL = struct.Struct("<4sHHHHHIIIHH")
_CENTRAL = struct.Struct("<4sHHHHHHIIIHHHHHII")
_END = struct.Struct("<4sHHHHIIH")
_END_64 = struct.Struct("<4sQHHIIQQQQ")
_LOCATOR_64 = struct.Struct("<4sIQI")
_PLACE_64 = struct.Struct("<HHQ")

_VERSION, _VERSION_64 = 20, 45
_MADE_ON_UNIX = 3 << 8
_MODE = 0o100644 << 16
_UTF_8 = 0x800
_DEFLATED = 8
_MOST_ENTRIES = 0xFFFF
_MOST_BYTES = 0xFFFFFFFF
_IN_MEMORY = 256 << 10
_PIECE = 64 << 10


class ZipStream:
    """The archive so far. Close it, or use it as a context manager: it may hold a temporary file.

    `offset` is the number of bytes in front of it.
    """

    def __init__(self, offset: int = 0) -> None:
        self._directory = SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  # closed with this object
        self._entries = 0
        self._offset = offset

    def __enter__(self) -> ZipStream:
        return self

    def __exit__(self, *_error: object) -> None:
        self._directory.close()

    def add(self, name: str, at: DateTime, content: bytes) -> bytes:
        """Return the bytes of an entry, which is less than 4 GiB. `name` is a relative path."""
        encoded = name.encode()
        deflate = zlib.compressobj(zlib.Z_DEFAULT_COMPRESSION, zlib.DEFLATED, -zlib.MAX_WBITS)
        data = deflate.compress(content) + deflate.flush()
        flags = 0 if name.isascii() else _UTF_8
        known = (flags, _DEFLATED, *_dos_time(at), zlib.crc32(content), len(data), len(content), len(encoded))
        place, extra, version = self._offset, b"", _VERSION
        if place >= _MOST_BYTES:
            extra, place, version = _PLACE_64.pack(1, 8, place), _MOST_BYTES, _VERSION_64
        made_by = _MADE_ON_UNIX | version
        record = _CENTRAL.pack(b"PK\1\2", made_by, version, *known, len(extra), 0, 0, 0, _MODE, place)
        self._directory.write(record + encoded + extra)
        entry = _LOCAL.pack(b"PK\3\4", _VERSION, *known, 0) + encoded + data
        self._entries += 1
        self._offset += len(entry)
        return entry

    def end(self) -> Iterator[bytes]:
        """Yield the directory, after which nothing may be added."""
        size = self._directory.tell()
        self._directory.seek(0)
        while piece := self._directory.read(_PIECE):
            yield piece
        yield _end(self._entries, size, self._offset)


def _end(entries: int, size: int, start: int) -> bytes:
    """Return the records behind the directory, which has `size` bytes from `start` on."""
    end_64 = b""
    if entries >= _MOST_ENTRIES or start + size >= _MOST_BYTES:
        made_by = _MADE_ON_UNIX | _VERSION_64
        end_64 = _END_64.pack(b"PK\6\6", _END_64.size - 12, made_by, _VERSION_64, 0, 0, entries, entries, size, start)
        end_64 += _LOCATOR_64.pack(b"PK\6\7", 0, start + size, 1)
    shown = min(entries, _MOST_ENTRIES)
    return end_64 + _END.pack(b"PK\5\6", 0, 0, shown, shown, min(size, _MOST_BYTES), min(start, _MOST_BYTES), 0)


def _dos_time(at: DateTime) -> tuple[int, int]:
    year, month, day, hour, minute, second = at
    return hour << 11 | minute << 5 | second // 2, (year - 1980) << 9 | month << 5 | day
