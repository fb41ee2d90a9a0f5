"""From the bytes of an upload to a small RGB image, safely: what can't be decoded within limits is a BadImage."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO

import pillow_heif
from PIL import Image, UnidentifiedImageError

from core.errors import BadImage

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "HEIF", "AVIF")
"""What is decoded, whatever a file's name says: the format comes from its first bytes."""

MAX_PIXELS = 500_000_000
"""About five seconds of scaled JPEG decoding; nothing larger is tried, however little memory it would take."""

_MEGABYTE = 1_000_000

Image.init()  # all of Pillow's plugins; without it an allow-list may name one that is not there yet
pillow_heif.register_heif_opener(thumbnails=False)

# Pillow refuses by pixel count alone; `_cost` knows that a scaled JPEG needs little and a HEIF much.
Image.MAX_IMAGE_PIXELS = None

# Peak bytes per pixel while decoding: the decoder's own buffers and Pillow's image (RGB takes four bytes a pixel).
_BYTES_PER_PIXEL = {"PNG": 5, "BMP": 5, "DIB": 5, "GIF": 6, "TIFF": 9, "WEBP": 9, "HEIF": 9, "AVIF": 9}
_PROGRESSIVE_BYTES_PER_PIXEL = 3  # libjpeg keeps all coefficients, two bytes each, 1.5 per pixel at 4:2:0


class DecodeBudget:
    """Memory that all decodes of this process share; a decode waits until its estimate fits."""

    def __init__(self, megabytes: int) -> None:
        self.limit = megabytes * _MEGABYTE
        self._free = self.limit
        self._changed = threading.Condition()

    @contextmanager
    def reserve(self, cost: int) -> Iterator[None]:
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
    """Decodes uploads to RGB images whose shorter side is at least `side` pixels, where the upload has as many.

    Large images come back at a reduced scale of at least twice `side`: enough to resample without a visible difference.
    """

    side: int
    budget: DecodeBudget

    def decode(self, data: bytes) -> Image.Image:
        """The first frame, upright, as RGB; transparency lies over white. Raises BadImage, a sentence for people."""
        if not data:
            raise BadImage("the file is empty")
        try:
            with Image.open(BytesIO(data), formats=FORMATS) as image:
                cost = self._prepare(image)
                with self.budget.reserve(cost):
                    return _upright(_rgb(_reduced(image, 2 * self.side)), image)
        except BadImage:
            raise
        except UnidentifiedImageError:
            raise BadImage(
                "not an image that can be read here (JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC and AVIF can)"
            ) from None
        except MemoryError:
            raise BadImage("decoding it takes more memory than there is") from None
        except Exception as error:  # noqa: BLE001  # Pillow's decoders raise nearly anything on damaged files
            raise BadImage(f"the image is damaged: {_sentence(error)}") from None

    def _prepare(self, image: Image.Image) -> int:
        """Choose the decoder's scale, estimate its memory from the header alone. Raises BadImage if it is too much."""
        width, height = image.size
        pixels = width * height
        image.draft("RGB", (2 * self.side, 2 * self.side))  # JPEG only: the decoder itself scales by 1/2, 1/4 or 1/8
        cost = image.width * image.height * _BYTES_PER_PIXEL.get(image.format or "", 4)
        if image.info.get("progressive") or image.info.get("progression"):
            cost += pixels * _PROGRESSIVE_BYTES_PER_PIXEL
        if pixels > MAX_PIXELS:
            raise BadImage(
                f"too large: {width} × {height} pixels, at most {MAX_PIXELS // 1_000_000} million are decoded"
            )
        if cost > self.budget.limit:
            raise BadImage(
                f"too large: {width} × {height} pixels would take {cost / 1e9:.1f} GB to decode, "
                f"the limit is {self.budget.limit / 1e9:.1f} GB"
            )
        return cost


def _reduced(image: Image.Image, side: int) -> Image.Image:
    """Shrink by a whole factor before any conversion, so that only one full-size copy ever exists."""
    image.load()
    factor = min(image.size) // side
    if factor < 2 or image.mode not in ("L", "RGB", "RGBA", "CMYK", "LA", "RGBX", "RGBa"):
        return image
    return image.reduce(factor)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I;16"):
        image = _scaled(image.convert("I"), 65535)
    elif image.mode in ("I", "F"):
        image = _scaled(image, _white_point(image))
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")


def _white_point(image: Image.Image) -> float:
    """What 32-bit pixels probably count up to: 1, 255, 65535 or, beyond that, the brightest one."""
    brightest = float(image.getextrema()[1])  # type: ignore[arg-type]  # one band
    return next((top for top in (1.0, 255.0, 65535.0) if brightest <= top), brightest)


def _scaled(image: Image.Image, top: float) -> Image.Image:
    """A one-band image of values 0..top as 8-bit grey."""
    return image.convert("F").point(lambda value: value * (255 / top) + 0).convert("L")


_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(small: Image.Image, original: Image.Image) -> Image.Image:
    """Turned as the camera's EXIF orientation says; on the reduced copy, where it costs little."""
    try:
        orientation = original.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # noqa: BLE001  # damaged metadata must not fail a sound image
        return small
    turn = _TURNS.get(orientation)
    return small if turn is None else small.transpose(turn)


def _sentence(error: Exception) -> str:
    text = " ".join(str(error).split())[:120]
    return "its pixels cannot be decoded" if not text or text.startswith("decoder error") else text
