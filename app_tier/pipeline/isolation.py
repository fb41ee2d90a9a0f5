"""Decodes one suspicious image at a time in a process of its own, which may crash or hang without harm.

A message that was received before and never finished may be what killed its worker.
"""

from __future__ import annotations

from PIL import Image

from core.errors import BadImage, DecoderLost
from core.imaging.sandbox import Failed, Sandbox


def longest_expected_s(decode_timeout_s: float) -> float:
    """Return what an image may be expected to take: a third of the time limit, as machines differ and are busy."""
    return decode_timeout_s / 3


class IsolatedDecoder(Sandbox):
    """Like Decoder, but what crashes, hangs or eats memory costs only the child. Used by one thread."""

    def __init__(self, memory_mb: int, timeout_s: float, expected_s: float | None = None) -> None:
        """Refuse by the header what should take longer than `expected_s`, which goes by `timeout_s` if not given."""
        super().__init__(memory_mb, timeout_s, seconds=expected_s or longest_expected_s(timeout_s))

    def decode(self, data: bytes, side: int) -> Image.Image:
        """Return the image as RGB. Raises BadImage; DecoderLost where the child crashed or exceeded the time limit."""
        try:
            return self.pixels(data, side)
        except Failed as error:
            raise (DecoderLost if error.lost else BadImage)(str(error)) from None
