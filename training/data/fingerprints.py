"""Fingerprints of images: a hash of the file's bytes, and a perceptual hash, which copies of an image share.

The perceptual hash is pHash: the signs of the lowest frequencies of a small grey copy (Zauner, "Implementation and
Benchmarking of Perceptual Image Hash Functions", 2010). A mirrored image has the same frequencies, every second one
with the other sign, so its hash costs nothing more.
"""

from __future__ import annotations

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache, partial
from io import BytesIO
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from core.errors import BadImage
from core.imaging.decode import DecodeBudget, Decoder

_SIDE = 32
_LOW = 8
_NOISE = 1.0
"""Weaker frequencies (of grey levels 0..255) count as 0: rounding would decide their sign."""
_AHEAD = 4


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """The hashes by which copies of an image are found, and its size."""

    sha256: str
    """Hex, of the file."""
    perceptual: int
    """64 bits. Few differ between an image and its copy in another size, format or brightness."""
    mirrored: int
    """The hash of the mirrored image."""
    size: tuple[int, int]
    """Width and height in pixels, before the EXIF orientation is applied."""


_One = tuple[Path, Fingerprint | BadImage]
Fingerprints = Mapping[Path, Fingerprint | BadImage]
"""The fingerprint of each image, or why it cannot be read."""


def compute_fingerprints(
    paths: Iterable[Path], decode_memory_mb: int = 600, threads: int = 0, progress: Callable[[int], None] | None = None
) -> dict[Path, Fingerprint | BadImage]:
    """Read and decode every image in the order of `paths`; `progress` gets the number done.

    Decoding is as safe as in a worker: known formats only, within limits of memory and pixels.
    """
    decoder = Decoder(_SIDE, DecodeBudget(decode_memory_mb))
    threads = threads or os.cpu_count() or 1
    found = {}
    with ThreadPoolExecutor(threads) as pool:
        for done, (path, one) in enumerate(
            _map_ordered(pool, partial(_fingerprint_file, decoder), paths, threads * _AHEAD), 1
        ):
            found[path] = one
            if progress is not None:
                progress(done)
    return found


def fingerprint_bytes(data: bytes, decoder: Decoder) -> Fingerprint:
    """Return the fingerprint of an image file's bytes. Raises BadImage."""
    image = decoder.show(data)
    with Image.open(BytesIO(data)) as header:
        size = header.size
    grey = np.asarray(image.convert("L").resize((_SIDE, _SIDE), Image.Resampling.LANCZOS), np.float64)
    wave = _compute_dct()
    low = wave @ grey @ wave.T
    seen = low.copy()
    seen[:, 1::2] *= -1
    return Fingerprint(hashlib.sha256(data).hexdigest(), _pack_signs(low), _pack_signs(seen), size)


def _pack_signs(frequencies: NDArray[np.float64]) -> int:
    bits = frequencies > _NOISE
    bits[0, 0] = False  # the mean: every image has one
    return int.from_bytes(np.packbits(bits).tobytes())


@cache
def _compute_dct() -> NDArray[np.float64]:
    """The first rows of the orthonormal DCT-II of 32 points."""
    at = np.pi / _SIDE * (np.arange(_SIDE) + 0.5)
    waves: NDArray[np.float64] = np.cos(np.outer(np.arange(_LOW), at)) * np.sqrt(2 / _SIDE)
    waves[0] /= np.sqrt(2)
    return waves


def _fingerprint_file(decoder: Decoder, path: Path) -> _One:
    try:
        return path, fingerprint_bytes(path.read_bytes(), decoder)
    except BadImage as error:
        return path, error
    except OSError as error:
        return path, BadImage(f"it cannot be opened: {error.strerror}")


def _map_ordered(
    pool: ThreadPoolExecutor, work: Callable[[Path], _One], paths: Iterable[Path], ahead: int
) -> Iterator[_One]:
    """Like `pool.map`, with a bounded number of pending futures: a hundred thousand would wait for nothing."""
    rest = iter(paths)
    under_way = deque(pool.submit(work, path) for path in islice(rest, ahead))
    while under_way:
        done = under_way.popleft().result()
        under_way.extend(pool.submit(work, path) for path in islice(rest, 1))
        yield done
