"""Compare the processor time of decoding with the estimate that `core.imaging` makes from the header.

An estimate should be about twice the measured time; `core/imaging/costs.py` has the constants.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from typing import Any

import click
import numpy as np
from PIL import Image

from core.errors import BadImage
from core.imaging.decode import DecodeBudget, Decoder
from core.imaging.formats import read_header

_SIDE = 224
_BUDGET = DecodeBudget(4000, seconds=1000.0)


def photo(width: int, height: int) -> Image.Image:
    """Make soft colours under noise, which compress about as well as a camera's picture."""
    random = np.random.default_rng(1)
    coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
    soft = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    return Image.fromarray((soft + random.integers(-6, 7, soft.shape, dtype=np.int16)).clip(0, 255).astype(np.uint8))


def _saved(image: Image.Image, format: str, **options: Any) -> bytes:
    stream = BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def _interlaced(image: Image.Image) -> bytes:
    """Encode as PNG with Adam7 interlacing (seven passes, each over some of the pixels), which Pillow cannot write."""
    pixels = np.asarray(image)
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = bytearray()
    for top, left, down, across in passes:
        for row in pixels[top::down, left::across]:
            rows += b"\0" + row.tobytes()
    header = image.width.to_bytes(4) + image.height.to_bytes(4) + bytes((8, 2, 0, 0, 1))
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows, 1)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        len(body).to_bytes(4) + kind + body + zlib.crc32(kind + body).to_bytes(4) for kind, body in chunks
    )


def scans(side: int, count: int) -> bytes:
    """Make a progressive grey JPEG whose scans are empty but for one end of a block in each row of blocks."""
    frame = b"\xff\xc2" + (11).to_bytes(2) + b"\x08" + side.to_bytes(2) * 2 + b"\1\1\x11\0"
    tables = b"".join(b"\xff\xc4\0\x14" + kind + b"\1" + bytes(15) + b"\0" for kind in (b"\0", b"\x10"))
    scan = b"\xff\xda\0\x08\1\1\0\1\x3f\0" + bytes(16)
    first = b"\xff\xda\0\x08\1\1\0\0\0\0" + bytes(16)
    return b"\xff\xd8\xff\xdb\0\x43\0" + b"\1" * 64 + frame + tables + first + scan * (count - 1) + b"\xff\xd9"


def _kinds(megapixels: int) -> Iterator[tuple[str, Callable[[], bytes]]]:
    width = int((megapixels * 1e6 * 4 / 3) ** 0.5)
    image = photo(width, width * 3 // 4)
    plain = Image.new("RGB", image.size, "teal")
    yield "JPEG, quality 90", lambda: _saved(image, "JPEG", quality=90)
    yield "JPEG, quality 98, 4:4:4", lambda: _saved(image, "JPEG", quality=98, subsampling=0)
    yield "JPEG, progressive", lambda: _saved(image, "JPEG", quality=90, progressive=True)
    yield "JPEG, progressive, quality 98", lambda: _saved(image, "JPEG", quality=98, subsampling=0, progressive=True)
    yield "JPEG, 90 empty scans", lambda: scans(width, 90)
    yield "PNG", lambda: _saved(image, "PNG", compress_level=1)
    yield "PNG, interlaced", lambda: _interlaced(image)
    yield "PNG, one colour", lambda: _saved(plain, "PNG")
    yield "GIF", lambda: _saved(image.quantize(256, method=Image.Quantize.FASTOCTREE), "GIF")
    yield "WebP", lambda: _saved(image, "WEBP", quality=90, method=0)
    yield "WebP, lossless", lambda: _saved(image, "WEBP", lossless=True, quality=0, method=0)
    yield "BMP", lambda: _saved(image, "BMP")
    yield "TIFF", lambda: _saved(image, "TIFF")
    yield "TIFF, deflate", lambda: _saved(image, "TIFF", compression="tiff_adobe_deflate")
    yield "TIFF, float", lambda: _saved(image.convert("F"), "TIFF")
    yield "HEIC", lambda: _saved(image, "HEIF", quality=90)
    yield "AVIF", lambda: _saved(image, "AVIF", quality=90, speed=10)


@click.command()
@click.option("--megapixels", default=12, help="size of each picture")
@click.option("--rounds", default=3, help="decodings of each, of which the fastest counts")
def command(megapixels: int, rounds: int) -> Iterator[str]:
    """Measure the processor time of decoding pictures of each kind, beside the estimate from the header."""
    decoder = Decoder(_SIDE, _BUDGET)
    yield f"{'':32} {'MB':>6} {'s':>7} {'estimate':>9} {'ratio':>6}"
    for name, make in _kinds(megapixels):
        data = make()
        times = []
        for _ in range(rounds):
            started = time.process_time()
            try:
                decoder.show(data)
            except BadImage as error:
                yield f"{name:32} {error}"
                break
            times.append(time.process_time() - started)
        else:
            estimate = read_header(data).seconds
            size = len(data) / 1e6
            yield f"{name:32} {size:6.1f} {min(times):7.3f} {estimate:9.3f} {estimate / min(times):6.1f}"
