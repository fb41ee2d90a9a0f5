"""The sentences that say why an image cannot be tagged: a closed set, in our own words."""

from __future__ import annotations

from PIL import UnidentifiedImageError

from core.errors import BadImage

EMPTY = "the file is empty"
NO_IMAGE = "not an image that can be read here (JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC and AVIF can)"
HEADER = "the image is damaged: its header makes no sense"
CUT = "the image is damaged: it ends before its last pixel"
PIXELS = "the image is damaged: its pixels cannot be decoded"
VARIANT = "the image is damaged, or a kind of {format} that cannot be read here"
TOO_MANY_PARTS = "the image is damaged: its file has more parts than any picture needs"
TOO_MANY_PIXELS = "too large: {width} × {height} pixels, at most {limit} million are decoded"
TOO_MUCH_MEMORY = "too large: {width} × {height} pixels would take {need:.1f} GB to decode, the limit is {limit:.1f} GB"
TOO_SLOW = "too slow to decode: {width} × {height} pixels would take about {need:.0f} s, the limit is {limit:.0f} s"
TOO_MANY_SCANS = "too slow to decode: {width} × {height} pixels in {scans} scans; save it again with fewer"
NO_MEMORY = "decoding it takes more memory than there is"
TOOK_TOO_LONG = "decoding it took longer than {limit:.0f} s"
CRASHED = "decoding it crashed the decoder; the file is probably damaged on purpose"
TRANSPARENT = "nothing to tag: every pixel is transparent"
UNIFORM = "nothing to tag: every pixel has the same colour"

SENTENCES = (
    EMPTY,
    NO_IMAGE,
    HEADER,
    CUT,
    PIXELS,
    VARIANT,
    TOO_MANY_PARTS,
    TOO_MANY_PIXELS,
    TOO_MUCH_MEMORY,
    TOO_SLOW,
    TOO_MANY_SCANS,
    NO_MEMORY,
    TOOK_TOO_LONG,
    CRASHED,
    TRANSPARENT,
    UNIFORM,
)
"""All of them; fields in braces are filled in."""

_SIGNS_OF_A_CUT = ("truncated", "not enough", "unexpected end", "premature end", "end of file")


def as_bad_image(error: Exception, format: str) -> BadImage:
    """Return the BadImage for any error of a decoder on an image of `format`. The error's own text is not shown."""
    if isinstance(error, BadImage):
        return error
    if isinstance(error, MemoryError):
        return BadImage(NO_MEMORY)
    if isinstance(error, (UnidentifiedImageError, NotImplementedError)):
        return BadImage(VARIANT.format(format=format))
    text = str(error).lower()
    if "unsupported" in text or "not supported" in text or "cannot handle" in text:
        return BadImage(VARIANT.format(format=format))
    if isinstance(error, EOFError) or any(sign in text for sign in _SIGNS_OF_A_CUT):
        return BadImage(CUT)
    if "out of memory" in text or "cannot allocate" in text:
        return BadImage(NO_MEMORY)
    return BadImage(PIXELS)
