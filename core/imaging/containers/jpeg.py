"""JPEG: reads the segments up to the first scan, then the markers between scans. It skips entropy-coded data.

A bomb consists of many scans: each passes over every pixel, and may take only a dozen bytes.
"""

from __future__ import annotations

import re
import struct
from dataclasses import dataclass, field

from core.errors import BadImage
from core.imaging import costs, damage
from core.imaging.header import Header

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
"""The end of a scan's data: any marker except a restart or a stuffed zero."""

_SOI, _EOI, _SOS, _TEM = 0xD8, 0xD9, 0xDA, 0x01
_EXIF, _XMP, _ICC = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0", b"ICC_PROFILE\0"
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
_BASELINE = 0xC0
_PROGRESSIVE, _ARITHMETIC = {0xC2, 0xCA}, {0xC9, 0xCA}
_READABLE = {0xC0, 0xC1, 0xC2, 0xC9, 0xCA}
_TABLES = {0xDB, 0xC4, 0xDD, 0xCC}
_COMMON = {bytes([marker]) for marker in (*_TABLES, *_FRAMES, 0xE0, 0xE1, 0xE2, 0xEE, 0xDA)}
_METADATA = {*range(0xE0, 0xF0), 0xFE}
_NEEDED = {0xE0, 0xEE}
"""Metadata that is kept: JFIF and Adobe's, which define the colours."""
_MOST_MARKERS = 20_000
_COEFFICIENT_BYTES = 2
_MOST_PROFILE_BYTES = 4_000_000


@dataclass(slots=True)
class _Frame:
    kind: int = 0
    precision: int = 8
    width: int = 0
    height: int = 0
    samples: dict[int, int] = field(default_factory=dict)
    """Samples of each component, by its number."""


@dataclass(slots=True)
class _Walk:
    """The result of a walk over all markers."""

    frame: _Frame = field(default_factory=_Frame)
    kept: list[tuple[int, int]] = field(default_factory=list)
    profile_bytes: int = 0
    described: bool = False
    """Whether there was XMP."""
    dropped: bool = False
    first_scan: int = 0
    scans: int = 0
    scan_samples: int = 0
    headers: list[bytes] = field(default_factory=list)
    """Headers of the scans: which components, which coefficients, down to which bit."""
    end: int | None = None


def read(data: bytes) -> Header:
    """Walk the markers. Raises BadImage if there is no frame, no scan, or far too many markers."""
    walk = _walk(data)
    frame = walk.frame
    if not walk.scans:
        raise BadImage(damage.CUT if frame.width or not frame.kind else damage.HEADER)
    if frame.kind not in _READABLE or frame.precision != 8 or not frame.height:
        raise BadImage(damage.VARIANT.format(format="JPEG"))
    several = walk.scans > 1 or frame.kind in _PROGRESSIVE
    byte_ns = costs.PROGRESSIVE_BYTE_NS if several else costs.BYTE_NS["JPEG"]
    nanoseconds = (
        frame.width * frame.height * costs.PIXEL_NS["JPEG"]
        + ((walk.end or len(data)) - walk.first_scan)
        * (costs.ARITHMETIC_BYTE_NS if frame.kind in _ARITHMETIC else byte_ns)
        + (walk.scan_samples * costs.SCAN_SAMPLE_NS if several else 0)
    )
    unended = walk.end is None
    if unended and not (_all_given(walk) and frame.kind not in _ARITHMETIC):
        raise BadImage(damage.CUT)
    return Header(
        "JPEG",
        frame.width,
        frame.height,
        _rebuilt(data, walk),
        pixel_bytes=4,
        seconds=nanoseconds * (2 if unended else 1) / 1e9,
        extra_bytes=sum(frame.samples.values()) * _COEFFICIENT_BYTES if several else 0,
        scalable=True,
        scans=walk.scans,
        scan_samples=walk.scan_samples,
        baseline=frame.kind == _BASELINE and walk.scans == 1,
        unended=unended,
    )


def _walk(data: bytes) -> _Walk:
    walk, position = _Walk(), 2
    for _ in range(_MOST_MARKERS):
        if data[position : position + 1] == b"\xff" and data[position + 1 : position + 2] in _COMMON:
            start = position
        elif found := _MARKER.search(data, position):
            start = found.start()
        else:
            return walk
        marker, position = data[start + 1], start + 2
        if marker == _EOI:
            walk.end = position
            return walk
        if marker in (_SOI, _TEM):
            continue
        position += max(2, int.from_bytes(data[position : position + 2]))
        if position > len(data):
            return walk
        if marker not in _TABLES:
            _segment(data, walk, marker, start, position)
        elif not walk.scans:
            walk.kept.append((start, position))
        if marker == _SOS and _is_whole(walk) and data.endswith(b"\xff\xd9"):
            walk.end = len(data)  # a decoder stops after this scan, and so can we: most photos end here
            return walk
    raise BadImage(damage.TOO_MANY_PARTS)


def _segment(data: bytes, walk: _Walk, marker: int, start: int, end: int) -> None:
    body = data[start + 4 : end]
    if marker == _SOS:
        walk.scans += 1
        walk.first_scan = walk.first_scan or start
        walk.headers.append(body)
        walk.scan_samples += sum(walk.frame.samples.get(number, 0) for number in _components(body))
    elif marker in _FRAMES and not walk.frame.kind:
        walk.frame = _frame(marker, body)
    if walk.scans:
        return
    if marker in _METADATA and marker not in _NEEDED and not _is_wanted(walk, body):
        walk.dropped = True
    else:
        walk.kept.append((start, end))


def _is_wanted(walk: _Walk, body: bytes) -> bool:
    """Return whether the segment is EXIF, the first XMP, or part of a profile that is not huge."""
    if body.startswith(_ICC):
        walk.profile_bytes += len(body)
        return walk.profile_bytes <= _MOST_PROFILE_BYTES
    if body.startswith(_XMP):
        walk.described, first = True, not walk.described
        return first
    return body.startswith(_EXIF)


def _is_whole(walk: _Walk) -> bool:
    """Return whether the only scan so far has all components of a non-progressive frame, so that no other follows."""
    frame = walk.frame
    return (
        walk.scans == 1
        and frame.kind not in _PROGRESSIVE
        and len(frame.samples) == len(set(_components(walk.headers[0])) & frame.samples.keys())
    )


def _frame(marker: int, body: bytes) -> _Frame:
    try:
        precision, height, width, count = struct.unpack_from(">BHHB", body)
        components = [struct.unpack_from(">BBB", body, 6 + 3 * number) for number in range(count)]
    except struct.error:
        raise BadImage(damage.HEADER) from None
    factors = [(number, sampling >> 4, sampling & 15) for number, sampling, _ in components]
    if not factors or not width or not all(across and down for _, across, down in factors):
        raise BadImage(damage.HEADER)
    most_across, most_down = max(it[1] for it in factors), max(it[2] for it in factors)
    samples = {
        number: -(-width * across // most_across) * -(-height * down // most_down) for number, across, down in factors
    }
    return _Frame(marker, precision, width, height, samples)


def _components(body: bytes) -> bytes:
    """Return the numbers of a scan's components."""
    count = body[0] if body else 0
    return body[1 : 1 + 2 * count : 2]


def _all_given(walk: _Walk) -> bool:
    """Return whether the scans so far give every bit of every coefficient."""
    lowest: dict[tuple[int, int], int] = {}
    for body in walk.headers:
        numbers = _components(body)
        if len(body) < 4 + 2 * len(numbers):
            return False
        first, last, bits = body[1 + 2 * len(numbers) : 4 + 2 * len(numbers)]
        if walk.frame.kind not in _PROGRESSIVE:
            first, last, bits = 0, 63, 0
        lowest.update({(number, at): bits & 15 for number in numbers for at in range(first, min(last, 63) + 1)})
    return bool(walk.frame.samples) and all(
        lowest.get((number, at), 15) == 0 for number in walk.frame.samples for at in range(64)
    )


def _rebuilt(data: bytes, walk: _Walk) -> bytes:
    """Return the file with only the picture, EXIF, XMP and profile, and with an end."""
    if walk.end == len(data) and not walk.dropped:
        return data
    head = b"".join(data[start:end] for start, end in walk.kept)
    rest = data[walk.first_scan : walk.end]
    if walk.end is None:
        rest = rest[:-1] + b"\xff\xd9" if rest.endswith(b"\xff") else rest + b"\xff\xd9"
    return b"\xff\xd8" + head + rest


def check_end(data: bytes) -> None:
    """Raise BadImage if a scan's data ends before its last pixel. Call it for files that got their end from us.

    Pillow's decoder silently fills missing pixels with grey; libjpeg warns, and simplejpeg reports the warning.
    """
    import simplejpeg  # loads numpy: for the few files that need it

    _, _, colours, _ = simplejpeg.decode_jpeg_header(data)
    wanted = {"Gray": "Gray", "CMYK": "CMYK", "YCCK": "CMYK"}.get(colours, "RGB")
    try:
        simplejpeg.decode_jpeg(data, wanted, min_height=1, min_width=1, min_factor=8, strict=True)
    except ValueError:
        raise BadImage(damage.CUT) from None
