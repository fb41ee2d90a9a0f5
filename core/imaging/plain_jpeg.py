"""Recognises plain JPEGs by their header: those that any decoder turns into the same pixels as ours, nearly.

A decoder on a GPU knows less than ours, and cannot be limited or isolated. So it gets only these, and ours the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from core.errors import BadImage
from core.imaging.formats import read_header
from core.imaging.orientation import Size, read_orientation, turn_size
from core.imaging.profiles import changes_colours

_LEAST, _MOST = 64, 16_384
"""Pixels of a side. Smaller pictures cost our decoder nothing."""
_MOST_PIXELS = 50_000_000
_CHROMA = {(1, 1), (2, 1), (1, 2), (2, 2)}
"""Samples of luma for one of chroma, across and down: 4:4:4, 4:2:2, 4:4:0, 4:2:0."""


@dataclass(frozen=True, slots=True)
class PlainJpeg:
    """A baseline JPEG in YCbCr or grey, whose colours need no profile."""

    data: bytes
    size: Size
    """Width and height as stored."""
    orientation: int
    """EXIF's, 1 to 8."""

    @property
    def upright_size(self) -> Size:
        """Width and height of the upright picture."""
        return turn_size(self.size, self.orientation)


def read_plain_jpeg(data: bytes) -> PlainJpeg | None:
    """Return the file if it is a plain JPEG. It reads the header only; None also for what is damaged there."""
    if not data.startswith(b"\xff\xd8\xff"):
        return None
    try:
        header = read_header(data)
        if not header.baseline or header.unended or not _fits(header.width, header.height):
            return None
        with Image.open(BytesIO(header.data), formats=("JPEG",)) as image:
            if image.size != (header.width, header.height) or not _has_plain_colours(image):
                return None
            return PlainJpeg(header.data, image.size, read_orientation(image))
    except BadImage:
        return None
    except Exception:  # noqa: BLE001  # Pillow raises nearly anything on damaged headers: our decoder says what is wrong
        return None


def _fits(width: int, height: int) -> bool:
    return min(width, height) >= _LEAST and max(width, height) <= _MOST and width * height <= _MOST_PIXELS


def _has_plain_colours(image: Image.Image) -> bool:
    layers = image.layer  # type: ignore[attr-defined]  # of an opened JPEG: number, samples across, down, table
    numbers, samples = [layer[0] for layer in layers], [(layer[1], layer[2]) for layer in layers]
    if changes_colours(image.mode, image.info.get("icc_profile")):
        return False
    if image.mode == "L":
        return True
    return (
        image.mode == "RGB"
        and image.info.get("adobe_transform", 1) == 1
        and numbers == [1, 2, 3]
        and samples[0] in _CHROMA
        and samples[1:] == [(1, 1), (1, 1)]
    )
