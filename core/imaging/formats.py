"""Recognises formats by their first bytes, whatever a file's name says, and reads their headers."""

from __future__ import annotations

from collections.abc import Callable

import pillow_heif
from PIL import Image

from core.errors import BadImage
from core.imaging import damage
from core.imaging.containers import bmp, gif, isobmff, jpeg, png, tiff, webp
from core.imaging.extensions import EXTENSIONS
from core.imaging.header import Header

FORMATS = tuple(EXTENSIONS)
"""Pillow's names of the supported formats."""

_READERS: dict[str, Callable[[bytes], Header]] = {
    "JPEG": jpeg.read,
    "PNG": png.read,
    "WEBP": webp.read,
    "GIF": gif.read,
    "BMP": bmp.read_bmp,
    "DIB": bmp.read_dib,
    "TIFF": tiff.read,
    "HEIF": isobmff.read,
    "AVIF": isobmff.read,
}

Image.init()  # load all of Pillow's plugins: `Image.open(formats=…)` knows only loaded ones
pillow_heif.register_heif_opener(thumbnails=False)

# Pillow's limit counts pixels only. Ours also knows that a scaled JPEG needs little memory and a HEIF much.
Image.MAX_IMAGE_PIXELS = None


def sniff(data: bytes) -> str | None:
    """Return the format that the first bytes show, None if it is not supported."""
    head = data[:32]
    if head.startswith(b"\xff\xd8\xff"):
        return "JPEG"
    if head.startswith(png.SIGNATURE):
        return "PNG"
    if head.startswith((b"GIF87a", b"GIF89a")):
        return "GIF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    if head[:2] in (b"II", b"MM") and head[2:4] in (b"*\0", b"\0*", b"+\0", b"\0+"):
        return "TIFF"
    if head[4:8] == b"ftyp":
        return isobmff.kind(data)
    if head.startswith(b"BM"):
        return "BMP"
    if int.from_bytes(head[:4], "little") in bmp.DIB_HEADERS:
        return "DIB"
    return None


def read_header(data: bytes) -> Header:
    """Read the header without a decoder. Raises BadImage if it is damaged, or the format is unknown."""
    if not data:
        raise BadImage(damage.EMPTY)
    format = sniff(data)
    if format is None:
        raise BadImage(damage.NO_IMAGE)
    return _READERS[format](data)
