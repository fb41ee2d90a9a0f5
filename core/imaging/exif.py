"""EXIF: the one thing wanted of it is the orientation."""

from __future__ import annotations

from PIL import Image

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def upright(small: Image.Image, original: Image.Image) -> Image.Image:
    """Turn `small` as the camera's orientation in `original` says; on the reduced copy that costs little."""
    try:
        orientation = original.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001  # damaged metadata must not fail a sound image
        return small
    turn = _TURNS.get(orientation)
    return small if turn is None else small.transpose(turn)
