"""Colour profiles: pictures are tagged and shown in sRGB. A broken, huge or mismatching profile is ignored.

Transforms are cached, as most photos share a few profiles. Transforms that change nearly nothing are skipped.
"""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from io import BytesIO
from itertools import product

from PIL import Image, ImageCms

MOST_BYTES = 4_000_000
_KEPT = 16
_SPACES = {"RGB": b"RGB ", "CMYK": b"CMYK", "L": b"GRAY", "LAB": b"Lab "}
_CLASSES = (b"scnr", b"mntr", b"prtr", b"spac")
_UNSEEN = 3
"""Levels of 255: a profile that moves no colour by more counts as sRGB."""

_SRGB = ImageCms.createProfile("sRGB")
_LAB = ImageCms.createProfile("LAB")


def in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return `image` (RGB, CMYK, L or LAB) with its colours in sRGB; unchanged if its profile is unusable."""
    transform = _transforms.get(image.mode, profile or b"")
    if transform is None:
        return image
    try:
        converted = transform.apply(image)
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image
    return image if _is_flat(converted) and not _is_flat(image) else converted  # a broken profile: all pixels equal


def changes_colours(mode: str, profile: bytes | None) -> bool:
    """Return whether `in_srgb` would change a picture of this mode with this profile."""
    return _transforms.get(mode, profile or b"") is not None


def _is_flat(image: Image.Image) -> bool:
    extrema = image.getextrema()
    return all(low == high for low, high in (extrema if isinstance(extrema[0], tuple) else (extrema,)))


class _Transforms:
    """A cache of transforms. Safe for several threads: if two build the same transform at once, either one will do."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[str, bytes], ImageCms.ImageCmsTransform | None] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, mode: str, profile: bytes) -> ImageCms.ImageCmsTransform | None:
        """Return the transform to sRGB; None if it would change nothing or the profile cannot be used."""
        if not _fits(mode, profile) and mode != "LAB":
            return None
        key = (mode, hashlib.sha256(profile).digest())
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        built = _build(mode, profile if _fits(mode, profile) else b"")
        with self._lock:
            self._kept[key] = built
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return built


_transforms = _Transforms()


def _fits(mode: str, profile: bytes) -> bool:
    """Return whether the profile describes a device and has the picture's colour space."""
    return (
        128 <= len(profile) <= MOST_BYTES
        and mode in _SPACES
        and profile[16:20] == _SPACES[mode]
        and profile[12:16] in _CLASSES
    )


def _build(mode: str, profile: bytes) -> ImageCms.ImageCmsTransform | None:
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile)) if profile else _LAB
        transform = ImageCms.buildTransform(source, _SRGB, mode, "RGB", ImageCms.Intent.PERCEPTUAL)
        return None if mode in ("RGB", "L") and _changes_nothing(transform, mode) else transform
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _changes_nothing(transform: ImageCms.ImageCmsTransform, mode: str) -> bool:
    """Return whether the transform changes no sample colour by more than `_UNSEEN` levels."""
    steps = range(0, 256, 51)
    colours = list(product(steps, repeat=3)) if mode == "RGB" else [(step, step, step) for step in steps]
    sample = Image.new("RGB", (len(colours), 1))
    sample.putdata(colours)
    moved = transform.apply(sample if mode == "RGB" else sample.convert("L")).tobytes()
    return max(abs(one - other) for one, other in zip(sample.tobytes(), moved, strict=True)) <= _UNSEEN
