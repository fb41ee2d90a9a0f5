"""HEIC and AVIF: reads the boxes of an ISO base media file, to count the pixels to decode, tiles of grids included.

A grid may name the same tile thousands of times, or consist of grids. Its cost is the sum over everything it names.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from core.errors import BadImage
from core.imaging import costs, damage
from core.imaging.header import Header

_AVIF_BRANDS, _HEIF_BRANDS = (
    {b"avif", b"avis"},
    {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"mif1", b"msf1"},
)
_CODED = {b"hvc1", b"av01", b"hev1", b"avc1", b"jpeg", b"unci", b"vvc1", b"j2k1"}
_MOST_BOXES = 100_000
_DEEPEST = 3
"""Levels of grids within grids; no camera uses more."""


def kind(data: bytes) -> str | None:
    """Return Pillow's name of the format, by the brands of the file type box; None if it is not supported."""
    size = min(int.from_bytes(data[:4]), 4096)
    brands = {data[8:12], *(data[place : place + 4] for place in range(16, size, 4))}
    if brands & _AVIF_BRANDS:
        return "AVIF"
    return "HEIF" if brands & _HEIF_BRANDS else None


@dataclass(slots=True)
class _Meta:
    """The items that the meta box describes, by id."""

    primary: int = 0
    kinds: dict[int, bytes] = field(default_factory=dict)
    sizes: dict[int, tuple[int, int]] = field(default_factory=dict)
    made_of: dict[int, list[int]] = field(default_factory=dict)


def read(data: bytes) -> Header:
    """Read the boxes. Raises BadImage if they describe no picture, or one of an absurd number of tiles."""
    format = kind(data) or "HEIF"
    try:
        meta, tracks = _read_boxes(data)
    except (struct.error, IndexError, OverflowError):
        raise BadImage(damage.HEADER) from None
    width, height = meta.sizes.get(meta.primary, tracks)
    if not width or not height:
        raise BadImage(damage.CUT if len(data) < 64 or not (meta.kinds or any(tracks)) else damage.HEADER)
    pixels = max(_decoded_pixels(meta, meta.primary, 0, {}), width * height, tracks[0] * tracks[1])
    largest = max((across * down for across, down in meta.sizes.values()), default=0)
    return Header(
        format,
        width,
        height,
        data,
        pixel_bytes=9,
        seconds=costs.seconds(format, pixels, min(len(data), 4 * pixels), len(meta.kinds)),
        extra_bytes=max(0, largest - width * height) * 4,
    )


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the kind, begin and end of each box's body. Raises BadImage if there are too many."""
    for _ in range(_MOST_BOXES):
        if start + 8 > end:
            return
        size, name = int.from_bytes(data[start : start + 4]), data[start + 4 : start + 8]
        body = start + 8
        if size == 1:
            size, body = int.from_bytes(data[body : body + 8]), body + 8
        stop = end if size == 0 else start + size
        if stop < body:
            return
        yield name, body, min(stop, end)
        start = stop
    raise BadImage(damage.TOO_MANY_PARTS)


def _read_boxes(data: bytes) -> tuple[_Meta, tuple[int, int]]:
    """Return the items of the meta box, and the largest width and height of a track."""
    meta, tracks = _Meta(), (0, 0)
    for name, start, end in _boxes(data, 0, len(data)):
        if name == b"meta":
            _read_meta(data, meta, start + 4, end)
        elif name == b"moov":
            tracks = _largest_track(data, start, end)
    return meta, tracks


def _largest_track(data: bytes, start: int, end: int) -> tuple[int, int]:
    largest = (0, 0)
    for name, begin, stop in _boxes(data, start, end):
        if name != b"trak":
            continue
        for inner, _, last in _boxes(data, begin, stop):
            if inner == b"tkhd" and last - begin >= 8:
                width, height = struct.unpack_from(">II", data, last - 8)
                largest = max(largest, (width >> 16, height >> 16), key=lambda it: it[0] * it[1])
    return largest


def _read_meta(data: bytes, meta: _Meta, start: int, end: int) -> None:
    for name, begin, stop in _boxes(data, start, end):
        version = data[begin] if begin < stop else 0
        if name == b"pitm":
            (meta.primary,) = struct.unpack_from(">I" if version else ">H", data, begin + 4)
        elif name == b"iinf":
            for inner, place, _ in _boxes(data, begin + (8 if version else 6), stop):
                if inner == b"infe" and data[place] >= 2:
                    wide = data[place] >= 3
                    (number,) = struct.unpack_from(">I" if wide else ">H", data, place + 4)
                    place += 10 if wide else 8
                    meta.kinds[number] = data[place : place + 4]
        elif name == b"iprp":
            _read_sizes(data, meta, begin, stop)
        elif name == b"iref":
            _read_references(data, meta, begin, stop)


def _read_sizes(data: bytes, meta: _Meta, start: int, end: int) -> None:
    """Read each item's width and height: the list of properties, and which of them belong to which item."""
    sizes: list[tuple[int, int] | None] = []
    for name, begin, stop in _boxes(data, start, end):
        if name == b"ipco":
            for inner, place, _ in _boxes(data, begin, stop):
                sizes.append(struct.unpack_from(">II", data, place + 4) if inner == b"ispe" else None)
        elif name == b"ipma":
            version, wide = data[begin], data[begin + 3] & 1
            (count,) = struct.unpack_from(">I", data, begin + 4)
            place = begin + 8
            for _ in range(count):
                (number,) = struct.unpack_from(">I" if version else ">H", data, place)
                place += 4 if version else 2
                for _ in range(data[place]):
                    (index,) = struct.unpack_from(">H" if wide else ">B", data, place + 1)
                    place += 2 if wide else 1
                    index &= 0x7FFF if wide else 0x7F
                    if 0 < index <= len(sizes) and (size := sizes[index - 1]):
                        meta.sizes[number] = size
                place += 1
                if place > stop:
                    raise BadImage(damage.HEADER)


def _read_references(data: bytes, meta: _Meta, start: int, end: int) -> None:
    letter = ">I" if data[start] else ">H"
    step = struct.calcsize(letter)
    for name, begin, stop in _boxes(data, start + 4, end):
        if name == b"dimg":
            (number,) = struct.unpack_from(letter, data, begin)
            named = data[begin + step + 2 : stop]
            meta.made_of.setdefault(number, []).extend(
                it[0] for it in struct.iter_unpack(letter, named[: len(named) // step * step])
            )


def _decoded_pixels(meta: _Meta, item: int, depth: int, known: dict[int, int]) -> int:
    """Return how many pixels must be decoded for `item`. Raises BadImage for grids that are too deep or cyclic."""
    if item in known:
        return known[item]
    if depth > _DEEPEST:
        raise BadImage(damage.TOO_MANY_PARTS)
    width, height = meta.sizes.get(item, (0, 0))
    pixels = width * height
    if meta.kinds.get(item) not in _CODED:
        pixels += sum(_decoded_pixels(meta, part, depth + 1, known) for part in meta.made_of.get(item, ()))
    known[item] = pixels
    return pixels
