"""A process that turns images on its input into thumbnails on its output, each preceded by its length.

An answer of no bytes says that the image cannot be shown.
"""

from __future__ import annotations

import io
import os
import resource
import signal
import struct
import sys
import warnings

import pillow_heif
from PIL import Image, ImageOps

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF", "HEIF")
SIZE = 256

_MAX_PIXELS = 50_000_000
_MAX_JPEG_PIXELS = 250_000_000  # decoded at a fraction of that
_MAX_MEMORY = 1 << 30
_LENGTH = struct.Struct(">I")


def thumbnail(data: bytes) -> bytes:
    """A JPEG of `SIZE` pixels at most, upright, on white; b"" where the image is damaged, too large, or none."""
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            jpeg = image.format in ("JPEG", "MPO")
            if image.width * image.height > (_MAX_JPEG_PIXELS if jpeg else _MAX_PIXELS):
                return b""
            image.draft("RGB", (2 * SIZE, 2 * SIZE))
            image.thumbnail((SIZE, SIZE), reducing_gap=2.0)
            upright = ImageOps.exif_transpose(image)
            out = io.BytesIO()
            _on_white(upright).save(out, "JPEG", quality=80)
            return out.getvalue()
    except Exception:  # noqa: BLE001  # decoders raise whatever they like
        return b""


def _on_white(image: Image.Image) -> Image.Image:
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        image = image.convert("F").point(lambda value: value / 256.0).convert("L")
    if not image.has_transparency_data:
        return image.convert("RGB")
    colours = image.convert("RGBA")
    white = Image.new("RGBA", colours.size, "white")
    white.alpha_composite(colours)
    return white.convert("RGB")


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, whose end closes our input
    os.nice(5)
    resource.setrlimit(resource.RLIMIT_AS, (_MAX_MEMORY, _MAX_MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    Image.MAX_IMAGE_PIXELS = None  # our own limits are checked before anything is decoded
    pillow_heif.register_heif_opener(thumbnails=False)
    source, sink = sys.stdin.buffer, sys.stdout.buffer
    while len(head := source.read(_LENGTH.size)) == _LENGTH.size:
        made = thumbnail(source.read(_LENGTH.unpack(head)[0]))
        sink.write(_LENGTH.pack(len(made)) + made)
        sink.flush()


if __name__ == "__main__":
    main()
