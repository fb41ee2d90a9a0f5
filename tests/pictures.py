"""Make pictures for tests: plain but not blank ones, TIFFs of every kind, and those that attackers send."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from bench.data import test_data


def spotted(colour: Any = "red", size: tuple[int, int] = (32, 24), mode: str = "RGB") -> Image.Image:
    """Make a picture of one colour with another corner, because a blank picture gets no tags."""
    image = Image.new("RGB", size, colour)
    spot = (max(1, size[0] // 8), max(1, size[1] // 8))
    image.paste(
        "black" if sum(image.getpixel((0, 0))) > 100 else "white", (size[0] - spot[0], size[1] - spot[1], *size)
    )
    return image if mode == "RGB" else image.convert(mode)


def saved(image: Image.Image, format: str, **options: Any) -> bytes:
    """Encode an image as Pillow does, with its options."""
    stream = BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def gradient(width: int = 96, height: int = 80) -> npt.NDArray[np.float64]:
    """Return values of 0..1, to be scaled to any depth: dark top left, light bottom right, and a bright bar."""
    y, x = np.mgrid[0:height, 0:width]
    found = (x / (width - 1) + y / (height - 1)) / 2
    found[height // 4 : height // 3] = 1.0
    return found


def photo(width: int = 640, height: int = 480, seed: int = 1) -> Image.Image:
    """Make soft colours under as much noise as a camera's."""
    random = np.random.default_rng(seed)
    coarse = Image.fromarray(random.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    soft = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    return Image.fromarray((soft + random.integers(-8, 9, soft.shape)).clip(0, 255).astype(np.uint8))


def tiff(
    values: npt.NDArray[Any],
    *,
    photometric: int = 1,
    order: str = "<",
    deflate: bool = False,
    width: int = 0,
    bits: int = 0,
    extra: Sequence[tuple[int, int, int, int]] = (),
) -> bytes:
    """Encode an array as a grey TIFF of one strip with the array's type. `extra` are further directory entries.

    With fewer than eight `bits` the array holds packed rows of `width` pixels.
    """
    body = values.astype(values.dtype.newbyteorder(order)).tobytes()
    body = zlib.compress(body) if deflate else body
    kind = {"u": 1, "i": 2, "f": 3}[values.dtype.kind]
    height, across = values.shape
    entries = sorted(
        [
            (256, 4, 1, width or across),
            (257, 4, 1, height),
            (258, 3, 1, bits or values.dtype.itemsize * 8),
            (259, 3, 1, 8 if deflate else 1),
            (262, 3, 1, photometric),
            (273, 4, 1, 8),
            (277, 3, 1, 1),
            (278, 4, 1, height),
            (279, 4, 1, len(body)),
            (339, 3, 1, kind),
            *extra,
        ]
    )
    directory = struct.pack(order + "H", len(entries))
    for tag, type_, count, value in entries:
        packed = struct.pack(order + ("H2x" if type_ == 3 and count == 1 else "I"), value)
        directory += struct.pack(order + "HHI", tag, type_, count) + packed
    body += b"\0" * (len(body) % 2)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(body))
    return head + body + directory + bytes(4)


def png_chunk(kind: bytes, body: bytes) -> bytes:
    """Return a chunk with length and checksum."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def huge_png(width: int, height: int, *, depth: int = 8, kind: int = 2, interlaced: int = 0) -> bytes:
    """Make a PNG whose header declares this size but which holds no pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, interlaced)
    empty = png_chunk(b"IDAT", zlib.compress(b""))
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + empty + png_chunk(b"IEND", b"")


def scan_bomb(side: int, scans: int) -> bytes:
    """Make a progressive grey JPEG of `side` × `side` with empty scans: each makes a decoder visit all pixels."""
    quantisation = b"\xff\xdb\0\x43\0" + b"\1" * 64
    frame = b"\xff\xc2" + struct.pack(">HBHHB", 11, 8, side, side, 1) + b"\1\x11\0"
    tables = b"".join(b"\xff\xc4\0\x14" + kind + b"\1" + bytes(15) + b"\0" for kind in (b"\0", b"\x10"))
    first = b"\xff\xda\0\x08\1\1\0\0\0\0" + bytes(16)
    empty = b"\xff\xda\0\x08\1\1\0\1\x3f\0" + bytes(16)
    return b"\xff\xd8" + quantisation + frame + tables + first + empty * (scans - 1) + b"\xff\xd9"


def case(environ: dict[str, str], name: str) -> Path | None:
    """Return a file of the folder `cases` beside the test data, or None if there is none."""
    data = test_data(environ)
    path = data.parent / "cases" / name if data else None
    return path if path is not None and path.exists() else None
