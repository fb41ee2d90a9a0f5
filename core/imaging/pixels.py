"""Converts decoded images of any mode to RGB in sRGB on white, and recognises blank ones."""

from __future__ import annotations

from PIL import Image

from core.imaging import deep, profiles

NOISE = 4
"""Levels of 255 within which all pixels count as one colour: the rounding of a lossy format at its usual quality."""

_SAMPLED = 16
_PLAIN = ("L", "LA", "RGB", "RGBA", "CMYK", "LAB", "YCbCr")
_OPAQUE_IF_ZERO = ("BMP", "DIB")
"""Formats with a fourth byte that programs often leave at zero although the picture is opaque."""


def plain(image: Image.Image) -> Image.Image:
    """Return `image` in a mode whose pixels can be averaged: no palette, no single bits, 8 bits per band."""
    if deep.is_deep(image):
        return deep.to_grey(image)
    if image.mode == "RGBA" and image.format in _OPAQUE_IF_ZERO and _highest_alpha(image) == 0:
        return image.convert("RGB")
    if "transparency" in image.info and image.mode in ("1", "L", "RGB", "P"):
        return image.convert("RGBA")
    if image.mode in _PLAIN:
        return image
    if image.mode == "1":
        return image.convert("L")
    if image.mode == "La":
        return image.convert("LA")
    return image.convert("RGBA" if image.has_transparency_data else "RGB")


def on_white(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Return a plain `image` as RGB in sRGB, with white under transparent pixels."""
    if image.mode == "YCbCr":
        image = image.convert("RGB")
    if image.mode in ("LA", "RGBA"):
        colours = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", colours.size, "white"), colours).convert(
            "L" if image.mode == "LA" else "RGB"
        )
    converted = profiles.in_srgb(image, profile)
    return converted if converted.mode == "RGB" else converted.convert("RGB")


def is_transparent(small: Image.Image, whole: Image.Image) -> bool:
    """Return whether no pixel of `whole` is visible. `small` is its reduced copy, which is checked first."""
    return small.mode in ("LA", "RGBA") and _highest_alpha(small) == 0 and _highest_alpha(whole) == 0


def is_uniform(shown: Image.Image, whole: Image.Image) -> bool:
    """Return whether all pixels have one colour, both in `shown`, the RGB result, and in the plain `whole`.

    It checks `whole` because the reduced copy may lose a detail, such as a star in a black sky.
    """
    return not _has_colours(shown) and _is_one_colour(shown) and (whole.mode in ("LA", "RGBA") or _is_one_colour(whole))


def _has_colours(shown: Image.Image) -> bool:
    """Return whether a few sample pixels differ. This quick check recognises nearly all pictures that are not blank."""
    first = None
    for step in range(_SAMPLED):
        place = (shown.width * step // _SAMPLED, shown.height * (step * 5 % _SAMPLED) // _SAMPLED)
        colour = shown.getpixel(place)
        first = first or colour
        if any(abs(one - other) > NOISE for one, other in zip(first, colour, strict=True)):  # type: ignore[arg-type]  # RGB
            return True
    return False


def _is_one_colour(image: Image.Image) -> bool:
    return all(high - low <= NOISE for low, high in map(_extrema, image.split()))


def _extrema(band: Image.Image) -> tuple[float, float]:
    low, high = band.getextrema()
    return float(low), float(high)  # type: ignore[arg-type]  # numbers, of one band


def _highest_alpha(image: Image.Image) -> float:
    return _extrema(image.getchannel("A"))[1]
