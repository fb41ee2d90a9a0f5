"""Maps grey pictures of more than 8 bits, signed or floating point, to black and white.

1. The scale follows a convention if the values fit one: 0..1, -1..1, 0..255, the full range of 10 to 32 bits.
2. A high percentile chooses the scale, so that a few hot pixels do not darken the picture. Values beyond are clipped.
3. Values beyond every convention, or far below one, are scaled by that percentile itself. If more than a few are
   negative, black is a low percentile.
4. Values that are not finite do not influence the scale. They are shown black, positive infinity white.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from PIL import Image

if TYPE_CHECKING:
    import numpy.typing as npt

_SAMPLE_FORMAT, _PHOTOMETRIC = 339, 262
_SIGNED, _WHITE_IS_ZERO = 2, 0
_TOPS: Final = (1.0, 255.0, 1023.0, 4095.0, 16383.0, 32767.0, 65535.0, 2.0**31 - 1, 2.0**32 - 1)
_UNSIGNED_16: Final = (1.0, 255.0, 1023.0, 4095.0, 16383.0, 65535.0)
"""15 bits are not among them: a picture whose whites are below half of the range is a dark one."""
_FLOAT_TOPS: Final = (1.0, 255.0, 65535.0)
_HIGH, _LOW = 99.9, 0.1
_SAMPLED = 1_000_000
"""Percentiles are computed from about this many pixels."""
_BLOCK = 1_000_000
"""Pixels that are scaled at once: this bounds the memory beside the picture's own."""
_FEW = 0.01
"""Share of negative pixels that counts as noise around black."""


def is_deep(image: Image.Image) -> bool:
    """Return whether `image` is grey with values of more than 8 bits."""
    return image.mode in ("I", "F") or image.mode.startswith("I;16")


def to_grey(image: Image.Image) -> Image.Image:
    """Return a deep `image` as mode L, 0 black and 255 white; as LA if a PNG names one transparent value."""
    import numpy as np  # here, as only deep pictures need it and the thumbnails' child should stay small

    rows = max(1, _BLOCK // image.width)
    step = max(1, -(-image.width * image.height // _SAMPLED))
    sample = np.concatenate(
        [values.ravel()[::step] for values in (_values(image, top, rows) for top in range(0, image.height, rows))]
    )
    low, high = _range(sample)
    inverted = _tag(image, _PHOTOMETRIC, 1) == _WHITE_IS_ZERO
    key = image.info.get("transparency")
    grey = Image.new("L", image.size)
    alpha = Image.new("L", image.size) if isinstance(key, int) else None
    for top in range(0, image.height, rows):
        values = _values(image, top, rows)
        if alpha is not None:
            alpha.paste(Image.fromarray(np.where(values == key, 0, 255).astype(np.uint8)), (0, top))
        with np.errstate(over="ignore", invalid="ignore"):
            finite = np.nan_to_num(values.astype(np.float64), nan=low, posinf=high, neginf=low)
            scaled = np.clip((finite - low) * (255 / (high - low)), 0, 255)
        levels = (255 - scaled if inverted else scaled).round().astype(np.uint8)
        grey.paste(Image.fromarray(levels), (0, top))
    return grey if alpha is None else Image.merge("LA", (grey, alpha))


def _values(image: Image.Image, top: int, rows: int) -> npt.NDArray[Any]:
    """Return the block of rows from `top` as numbers, with the file's sign."""
    import numpy as np

    block = np.asarray(image.crop((0, top, image.width, min(top + rows, image.height))))
    if image.mode == "I" and image.format == "TIFF" and not _signed(image):
        return block.view(np.uint32)
    return block


def _range(sample: npt.NDArray[Any]) -> tuple[float, float]:
    """Return the values to show as black and as white."""
    import numpy as np

    floating = sample.dtype.kind == "f"
    finite = sample[np.isfinite(sample)] if floating else sample
    if not finite.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(finite.astype(np.float64), (_LOW, _HIGH)))
    if low >= 0 or float((finite < 0).mean()) <= _FEW:
        low = 0.0
    if high <= low:  # nearly all values are equal: scale to the few others
        low, high = min(low, float(finite.min())), float(finite.max())
    if floating and -1 <= low < 0 and high <= 1 and max(-low, high) > 1 / 4:
        return -1.0, 1.0
    if low < 0 or high <= 0:
        return (low, high) if high > low else (low, low + 1.0)
    for top in _FLOAT_TOPS if floating else _UNSIGNED_16 if sample.dtype == np.uint16 else _TOPS:
        if high <= top:
            return 0.0, top if high > top / 4 or (floating and top == 1.0 and high > 1 / 64) else high
    return 0.0, high


def _signed(image: Image.Image) -> bool:
    found = _tag(image, _SAMPLE_FORMAT, (1,))
    return bool((found[0] if isinstance(found, tuple) and found else found) == _SIGNED)


def _tag(image: Image.Image, tag: int, otherwise: Any) -> Any:
    """Return a TIFF's tag; `otherwise` for all other formats."""
    tags = getattr(image, "tag_v2", None)
    return otherwise if tags is None else tags.get(tag, otherwise)
