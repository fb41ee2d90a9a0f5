"""Decodes one suspicious image at a time in a process of its own, which may crash or hang without harm.

A message that was received before and never finished may be what killed its worker.
"""

from __future__ import annotations

from PIL import Image

from core.errors import BadImage
from core.imaging.sandbox import Failed, Sandbox

_SHARE = 3
"""Of the time limit, a third is what an image may be expected to take: machines differ, and are busy."""


class IsolatedDecoder(Sandbox):
    """Like Decoder, but what crashes, hangs or eats memory costs only the child. Used by one thread."""

    def __init__(self, memory_mb: int, timeout_s: float) -> None:
        super().__init__(memory_mb, timeout_s, seconds=timeout_s / _SHARE)

    def decode(self, data: bytes, side: int) -> Image.Image:
        """Return the image as RGB. Raises BadImage, also when the child crashed or took longer than the time limit."""
        try:
            return self.pixels(data, side)
        except Failed as error:
            raise BadImage(str(error)) from None
