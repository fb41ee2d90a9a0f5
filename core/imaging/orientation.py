"""Turns pictures upright by their EXIF orientation. Nothing else uses EXIF."""

from __future__ import annotations

from io import BytesIO

from PIL import ExifTags, Image

from core.imaging.formats import FORMATS

_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""EXIF's orientation → the turn that makes the picture upright."""
_ON_ITS_SIDE = (5, 6, 7, 8)
"""Orientations that exchange width and height."""

Size = tuple[int, int]
"""Width and height in pixels."""


def turn_upright(reduced: Image.Image, original: Image.Image, stored: Size) -> tuple[Image.Image, Size]:
    """Return `reduced` upright, and the upright size of the whole picture, whose size in the file is `stored`.

    `original` is the image that Pillow opened and loaded. Turning the reduced copy costs little.
    """
    orientation = read_orientation(original)
    turn = _TURNS.get(orientation)
    return (reduced if turn is None else reduced.transpose(turn)), turn_size(stored, orientation)


def read_upright_size(data: bytes) -> Size | None:
    """Return the upright size of the picture from its header, None if `data` is not a readable picture.

    It decodes no pixel, but C code reads the header: for strangers' files call it only in a process that may crash, as
    `core.imaging.sandbox` does.
    """
    try:
        with Image.open(BytesIO(data), formats=FORMATS) as image:
            size = image.size
            # Pillow turns TIFFs itself, and their size with them.
            orientation = 1 if image.format == "TIFF" else _orientation_before_loading(image, data)
    except Exception:  # noqa: BLE001  # Pillow's plugins raise nearly anything on damaged files
        return None
    return turn_size(size, orientation) if all(size) else None


def turn_size(size: Size, orientation: int) -> Size:
    """Return the upright size of a picture that is stored with this size and EXIF orientation."""
    return (size[1], size[0]) if orientation in _ON_ITS_SIDE else size


def read_orientation(image: Image.Image) -> int:
    """Return EXIF's orientation of an opened image: 1 to 8, or 1 where there is none."""
    try:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001  # damaged metadata: the picture is shown as it is stored
        return 1


def _orientation_before_loading(image: Image.Image, data: bytes) -> int:
    try:
        if image.format != "PNG":
            return read_orientation(image)
        if "exif" not in image.info and (at := data.find(b"eXIf")) > 0:  # the chunk may follow the pixels
            image.info["exif"] = data[at + 4 :][: int.from_bytes(data[at - 4 : at])]
        # The method of PNG's own class decodes all pixels in search of it.
        return int(Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1))
    except Exception:  # noqa: BLE001  # damaged metadata
        return 1
