"""The cost of decoding in nanoseconds on one core, about twice the measurements of `python -m bench decode`.

Measured 2026-11-30 on 2 cores of an AMD EPYC; docs/decisions/0030 has the table. They need not be exact: the limit of
ten seconds is far above every photo and far below every bomb.
"""

from __future__ import annotations

PIXEL_NS = {
    "JPEG": 4.0,  # inverse DCT and colours at a reduced scale
    "PNG": 20.0,
    "GIF": 15.0,
    "WEBP": 40.0,
    "BMP": 10.0,
    "DIB": 10.0,
    "TIFF": 20.0,
    "HEIF": 80.0,
    "AVIF": 70.0,
}
"""For each pixel, however few bytes it has."""

BYTE_NS = {
    "JPEG": 20.0,
    "PNG": 12.0,
    "GIF": 25.0,
    "WEBP": 30.0,
    "BMP": 2.0,
    "DIB": 2.0,
    "TIFF": 6.0,
    "HEIF": 60.0,
    "AVIF": 60.0,
}
"""For each byte of entropy-coded data."""

PROGRESSIVE_BYTE_NS = 60.0
"""The same for a JPEG in several scans."""

ARITHMETIC_BYTE_NS = 100.0
"""The same for an arithmetic-coded JPEG."""

SCAN_SAMPLE_NS = 0.25
"""For each sample that one more scan of a JPEG passes over, however few bytes it has."""

RLE_BYTE_NS = 700.0
"""For each byte of a run-length coded BMP, which Pillow decodes in Python."""

RLE_PIXEL_NS = 100.0
"""For each pixel of a run-length coded BMP."""

PART_NS = 40_000.0
"""For each strip, tile or item that is set up separately."""


def seconds(format: str, pixels: int, size: int, parts: int = 0) -> float:
    """Return the estimated seconds to decode `pixels` from `size` bytes in `parts`."""
    return (pixels * PIXEL_NS[format] + size * BYTE_NS[format] + parts * PART_NS) / 1e9
