"""EXIF: the one thing wanted of it is the orientation, and it must not cost more than it holds."""

from __future__ import annotations

import struct
from contextlib import suppress

from PIL import Image

_ORIENTATION = 0x0112
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4, 16: 8, 17: 8, 18: 8}
"""Bytes of one value of each TIFF type."""
_SLACK = 4096


def is_harmless(raw: bytes) -> bool:
    """Return whether reading the first directory costs no more than its bytes: Pillow copies what entries point at.

    Thousands of entries may point at the same megabyte.
    """
    body = raw[6:] if raw[:6] == b"Exif\0\0" else raw
    order = {b"II": "<", b"MM": ">"}.get(bytes(body[:2]))
    if order is None or len(body) < 8:
        return True  # no directory is found in it at all
    try:
        (start,) = struct.unpack_from(order + "I", body, 4)
        (count,) = struct.unpack_from(order + "H", body, start)
        entries = struct.iter_unpack(order + "HHI4x", body[start + 2 : start + 2 + 12 * count])
        return sum(_SIZES.get(kind, 1) * values for _, kind, values in entries) <= len(body) + _SLACK
    except struct.error:
        return False


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
    if not all(is_harmless(raw) for raw in _found(original)):
        return small
    try:
        orientation = original.getexif().get(_ORIENTATION, 1)
    except Exception:  # noqa: BLE001  # damaged metadata must not fail a sound image
        return small
    turn = _TURNS.get(orientation)
    return small if turn is None else small.transpose(turn)


def _found(image: Image.Image) -> list[bytes]:
    """EXIF as Pillow would read it: of its own, or as text in a PNG."""
    found = [raw for raw in (image.info.get("exif"),) if isinstance(raw, bytes)]
    text = image.info.get("Raw profile type exif")
    if isinstance(text, str):
        with suppress(ValueError):
            found.append(bytes.fromhex("".join(text.split("\n")[3:])))
    return found
