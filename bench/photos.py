"""Make photos of about 80 kB: real ones recompressed, or synthetic ones if there is no folder of photos."""

from __future__ import annotations

import itertools
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

TARGET_BYTES = 80_000
_QUALITIES = range(95, 25, -5)


def photos(folder: Path | None, count: int) -> list[tuple[str, bytes]]:
    """Return `count` pairs of name and JPEG. The names are unique; the pictures are 64 different ones."""
    sources = sorted(folder.glob("**/*.jpg"))[:64] if folder else []
    pictures = [_compressed(Image.open(path).convert("RGB")) for path in sources] or [
        _compressed(_made_up(seed)) for seed in range(64)
    ]
    return [(f"bench/{number:05}.jpg", data) for number, data in zip(range(count), itertools.cycle(pictures))]


def photos_of(folder: Path | None) -> list[bytes]:
    """Return the photos of a folder as they are; made-up ones without a folder."""
    found = sorted(folder.glob("**/*.jpg")) if folder else []
    return [path.read_bytes() for path in found] or [data for _, data in photos(None, 64)]


def _compressed(image: Image.Image) -> bytes:
    """Encode as JPEG at the highest quality that stays near the target size."""
    for quality in _QUALITIES:
        stream = BytesIO()
        image.save(stream, "JPEG", quality=quality)
        if stream.tell() <= TARGET_BYTES * 1.05:
            break
    return stream.getvalue()


def _made_up(seed: int) -> Image.Image:
    """Make 640 × 480 pixels of soft blobs of colour under noise, with as much detail as 80 kB of JPEG hold."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[0:480, 0:640]
    picture = np.zeros((480, 640, 3), dtype=np.float64)
    for _ in range(6):
        centre, width = random.uniform((0, 0), (480, 640)), random.uniform(40, 200)
        blob = np.exp(-((y - centre[0]) ** 2 + (x - centre[1]) ** 2) / (2 * width**2))
        picture += blob[..., None] * random.uniform(-200, 255, 3)
    picture += random.normal(90, 14, picture.shape)
    return Image.fromarray(picture.clip(0, 255).astype(np.uint8))
