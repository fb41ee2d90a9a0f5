"""Make JPEGs that decode like photos and have exactly the requested size.

The pictures are noise of several octaves, each twice as fine and half as strong as the one before. That gives the
spectrum of a photo (amplitude ~ 1/f; Field, "Relations between the statistics of natural images", 1987), so they
compress like one.
"""

from __future__ import annotations

from io import BytesIO

import numpy as np
from PIL import Image

from tagfleet.loadtest.plan import LoadTestError

SMALLEST_BYTES = 1_000
LARGEST_BYTES = 50_000_000
_BITS_A_PIXEL = 2.0
_TAG_BYTES = 20  # a comment: marker, length, and sixteen digits that make each copy a different file
_COMMENT = b"\xff\xfe"
_LONGEST_COMMENT = 0xFFFF - 2
_TABLES_MATTER_BELOW = 100_000  # bytes; optimised Huffman tables shrink a small file, and cost time in a large one
_START = b"\xff\xd8"


class Picture:
    """A made-up picture of `size` bytes. `copy(n)` is the same picture as a file that differs for each `n`."""

    def __init__(self, size: int, seed: int) -> None:
        """The same arguments give the same bytes with the same libraries. Raises LoadTestError."""
        if not SMALLEST_BYTES <= size <= LARGEST_BYTES:
            raise LoadTestError(
                f"photos of {size} bytes cannot be made: choose a size from {SMALLEST_BYTES} to {LARGEST_BYTES} bytes"
            )
        jpeg = _largest_within(_scene(size, seed), size - _TAG_BYTES)
        self.padding = size - _TAG_BYTES - len(jpeg)
        self._rest = _filler(self.padding) + jpeg[len(_START) :]

    def copy(self, number: int) -> bytes:
        """Return the file number `number`."""
        return _START + _comment(b"%016d" % (number % 10**16)) + self._rest


def _scene(size: int, seed: int) -> Image.Image:
    """Return a 4:3 image with about as many pixels as a camera's good-quality JPEG of `size` bytes."""
    height = max(8, round((size * 8 / _BITS_A_PIXEL * 3 / 4) ** 0.5))
    width = height * 4 // 3
    random = np.random.default_rng((seed, size))
    channels = []
    light = _fractal(random, width, height)
    for _ in range(3):
        tint = _fractal(random, width, height, octaves=3)
        channels.append((128 + 48 * (light + 0.5 * tint)).clip(0, 255).astype(np.uint8))
    return Image.fromarray(np.dstack(channels))


def _fractal(random: np.random.Generator, width: int, height: int, octaves: int = 16) -> np.ndarray:
    """Return a field with mean 0 and about unit deviation. Octaves finer than a pixel are left out."""
    field = np.zeros((height, width), dtype=np.float32)
    cells, strength = 3, 1.0
    for _ in range(octaves):
        if cells > width:
            break
        coarse = random.standard_normal((max(2, cells * height // width), cells)).astype(np.float32)
        field += strength * np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))
        cells, strength = cells * 2, strength / 2
    field += 0.12 * random.standard_normal((height, width)).astype(np.float32)  # a sensor's grain
    return field


def _largest_within(scene: Image.Image, most: int) -> bytes:
    """Return the JPEG of the highest quality with at most `most` bytes."""
    best, low, high = b"", 1, 100
    while low <= high:
        quality = (low + high) // 2
        stream = BytesIO()
        scene.save(stream, "JPEG", quality=quality, optimize=most < _TABLES_MATTER_BELOW)
        if stream.tell() <= most:
            best, low = stream.getvalue(), quality + 1
        else:
            high = quality - 1
    if not best:
        raise LoadTestError(f"a picture of {scene.width} × {scene.height} does not fit into a JPEG of {most} bytes")
    return best


def _comment(text: bytes) -> bytes:
    return _COMMENT + (len(text) + 2).to_bytes(2, "big") + text


def _filler(count: int) -> bytes:
    """Return `count` bytes that a decoder skips: comments, then fill bytes (ITU T.81, B.1.1.2)."""
    pieces = []
    while count >= len(_COMMENT) + 2:
        text = min(_LONGEST_COMMENT, count - len(_COMMENT) - 2)
        pieces.append(_comment(bytes(text)))
        count -= text + len(_COMMENT) + 2
    return b"".join(pieces) + b"\xff" * count
