"""The size of a picture as people see it, from its header alone."""

from __future__ import annotations

from io import BytesIO

from PIL import ExifTags, Image

from core.imaging.formats import FORMATS

_ON_ITS_SIDE = (5, 6, 7, 8)
"""EXIF's orientations that exchange width and height."""


def upright_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height (pixels), turned as EXIF says; None where `data` is no picture that can be read.

    No pixel is decoded, but decoders in C read the header: strangers' files are for a process that may end.
    """
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            width, height = image.size
            on_its_side = image.format != "TIFF" and _orientation(image, data) in _ON_ITS_SIDE
    except Exception:  # noqa: BLE001  # Pillow's plugins raise nearly anything on damaged files
        return None
    if not (width and height):
        return None
    return (height, width) if on_its_side else (width, height)


def _orientation(image: Image.Image, data: bytes) -> int | None:
    try:
        if image.format != "PNG":
            exif = image.getexif()
        else:
            if "exif" not in image.info and (at := data.find(b"eXIf")) > 0:  # it may come after the pixels
                image.info["exif"] = data[at + 4 :][: int.from_bytes(data[at - 4 : at])]
            exif = Image.Image.getexif(image)  # that of PNG's own class decodes all pixels in search of it
        return exif.get(ExifTags.Base.Orientation)
    except Exception:  # noqa: BLE001  # damaged metadata: the picture is shown as it is stored
        return None
