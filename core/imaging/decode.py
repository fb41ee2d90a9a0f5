"""The decoder. It raises BadImage, with a text for the image's owner, for anything it cannot decode within limits."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from core.errors import BadImage
from core.imaging import damage, pixels
from core.imaging.containers import jpeg
from core.imaging.formats import read_header
from core.imaging.header import Header
from core.imaging.orientation import turn_upright

UPRIGHT_SIZE = "upright_size"
"""Key in the `info` of a decoded image: width and height of the whole picture, upright, before it was reduced."""

MAX_PIXELS = 500_000_000
"""Larger images are refused, however little memory and time they would take."""

SECONDS = 10.0
"""The default limit for the estimated time of a decode: a third of the default `decode_timeout_s`."""

SCANNED_SAMPLES = 4_000_000_000
"""Limit for the samples that all scans of a JPEG pass over: twice that of a progressive photo of 200 MP."""

_MEGABYTE = 1_000_000


class DecodeBudget:
    """The memory that all decodes of this process share, and a limit of `seconds` for each. Decodes wait for memory."""

    def __init__(self, megabytes: int, seconds: float = SECONDS) -> None:
        self.limit = megabytes * _MEGABYTE
        self.seconds = seconds
        self._free = self.limit
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, cost: int) -> Iterator[None]:
        """Hold `cost` bytes once they are free. `cost` must not exceed `limit`."""
        with self._changed:
            self._changed.wait_for(lambda: cost <= self._free)
            self._free -= cost
        try:
            yield
        finally:
            with self._changed:
                self._free += cost
                self._changed.notify_all()


@dataclass(frozen=True, slots=True)
class Decoder:
    """Decodes uploads to RGB images whose shorter side is at least `side` pixels, unless the upload is smaller.

    Large images keep at least twice `side`, which is enough to resample them later without a visible difference.
    """

    side: int
    budget: DecodeBudget

    def decode(self, data: bytes) -> Image.Image:
        """Return the first frame as upright RGB in sRGB, on white where it is transparent, with UPRIGHT_SIZE in `info`.

        Raises BadImage, also if there is nothing to tag: every pixel is transparent, or has the same colour.
        """
        return self._decode(data, refuse_blank=True)

    def show(self, data: bytes) -> Image.Image:
        """Return the same as `decode`, but accept blank pictures. Raises BadImage."""
        return self._decode(data, refuse_blank=False)

    def _decode(self, data: bytes, *, refuse_blank: bool) -> Image.Image:
        header = read_header(data)
        cost = self._admit(header)
        try:
            with self.budget.reserve(cost):
                if header.unended:
                    jpeg.check_end(header.data)
                with Image.open(BytesIO(header.data), formats=_PLUGINS.get(header.format, (header.format,))) as image:
                    return self._convert(image, header, refuse_blank=refuse_blank)
        except Exception as error:  # noqa: BLE001  # decoders raise nearly anything on damaged files
            raise damage.as_bad_image(error, header.format) from None

    def _convert(self, image: Image.Image, header: Header, *, refuse_blank: bool) -> Image.Image:
        if image.width * image.height > 1.1 * header.pixels:
            raise BadImage(damage.HEADER)  # it would take more than was reserved
        stored = image.size
        image.draft("RGB", (2 * self.side, 2 * self.side))  # JPEG only
        _mend_byte_order(image)
        image.load()
        whole = pixels.plain(image)
        factor = min(whole.size) // (2 * self.side)
        small = whole.reduce(factor) if factor >= 2 else whole
        if refuse_blank and pixels.is_transparent(small, whole):
            raise BadImage(damage.TRANSPARENT)
        shown = pixels.on_white(small, image.info.get("icc_profile"))
        if refuse_blank and pixels.is_uniform(shown, whole):
            raise BadImage(damage.UNIFORM)
        upright, upright_size = turn_upright(shown, image, stored)
        upright.info[UPRIGHT_SIZE] = upright_size
        return upright

    def _admit(self, header: Header) -> int:
        """Return the estimated bytes that decoding takes. Raises BadImage if size, memory or time exceed a limit."""
        width, height = header.width, header.height
        if header.pixels > MAX_PIXELS:
            raise BadImage(damage.TOO_MANY_PIXELS.format(width=width, height=height, limit=MAX_PIXELS // 1_000_000))
        if header.scans > 1 and header.scan_samples > SCANNED_SAMPLES:
            raise BadImage(damage.TOO_MANY_SCANS.format(width=width, height=height, scans=header.scans))
        cost = header.memory(2 * self.side)
        if cost > self.budget.limit:
            raise BadImage(
                damage.TOO_MUCH_MEMORY.format(
                    width=width, height=height, need=cost / 1e9, limit=self.budget.limit / 1e9
                )
            )
        if header.seconds > self.budget.seconds:
            raise BadImage(
                damage.TOO_SLOW.format(width=width, height=height, need=header.seconds, limit=self.budget.seconds)
            )
        return cost


_PLUGINS = {"HEIF": ("HEIF", "AVIF")}
"""The plugins to try: the brands do not always distinguish HEIC from AVIF."""


def _mend_byte_order(image: Image.Image) -> None:
    """Make Pillow expect this machine's byte order, in which libtiff returns big-endian TIFFs.

    Pillow does so itself for unsigned 16 bits only.
    """
    if image.format == "TIFF" and sys.byteorder == "little":
        image.tile = [  # type: ignore[attr-defined]  # of an opened image
            tile._replace(args=(_NATIVE.get(tile.args[0], tile.args[0]), *tile.args[1:]))
            if tile.codec_name == "libtiff"
            else tile
            for tile in image.tile  # type: ignore[attr-defined]
        ]


_NATIVE = {"I;16BS": "I;16S", "I;32BS": "I;32S", "F;32BF": "F;32F", "F;64BF": "F;64F"}
