"""What decoding costs: nanoseconds on one core, as `python -m bench decode` measures them, rounded up.

Measured 2026-11-30 on a virtual machine with 2 cores (AMD EPYC); the table is in docs/decisions/0030. They need not
be exact: a limit of ten seconds is far from every photo and far from every bomb.
"""

from __future__ import annotations

PIXEL_NS = {
    "JPEG": 3.0,  # inverse DCT and colours, at a reduced scale; twice that at full scale
    "PNG": 20.0,
    "GIF": 12.0,
    "WEBP": 40.0,
    "BMP": 6.0,
    "DIB": 6.0,
    "TIFF": 25.0,
    "HEIF": 60.0,
    "AVIF": 60.0,
}
"""For each pixel, whatever the file's size."""

BYTE_NS = 15.0
"""For each byte of entropy-coded data: Huffman, LZW, deflate."""

ARITHMETIC_BYTE_NS = 100.0
"""…of an arithmetic-coded JPEG."""

SCAN_SAMPLE_NS = 0.25
"""For each sample that one more scan of a JPEG passes over, however few bytes it has."""

RLE_BYTE_NS = 700.0
"""For each byte of a run-length coded BMP, which Pillow decodes in Python."""

RLE_PIXEL_NS = 100.0
"""…and for each of its pixels."""

PART_NS = 40_000.0
"""For each strip, tile or frame that is set up by itself."""


def seconds(format: str, pixels: int, size: int, parts: int = 0) -> float:
    """Return the estimate for `pixels` out of `size` bytes in `parts`."""
    return (pixels * PIXEL_NS[format] + size * BYTE_NS + parts * PART_NS) / 1e9
