"""Decodes in a child process, which may crash, hang or run out of memory without harm to this one."""

from __future__ import annotations

import time

from PIL import Image

from core.errors import BadImage, DecoderLost
from core.imaging.sandbox import Failed, Sandbox

_IDLE_S = 60.0
_WARM_TRIES = 3
_SMALLEST_GIF = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\xff\xff\xff\x00\x00\x00,\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)


def expected_decode_s(decode_timeout_s: float) -> float:
    """Return how long a decode may be expected to take: a third of its limit, as machines differ and may be busy."""
    return decode_timeout_s / 3


class ChildDecoder:
    """Decodes images in a child, which is started when first needed. Its start does not count toward the time limit.

    Used by one thread.
    """

    def __init__(self, memory_mb: int, decode_timeout_s: float, timeout_s: float | None = None) -> None:
        """End a decode that takes `timeout_s` (None: `decode_timeout_s`). Refuse one that should take long."""
        expected_s = expected_decode_s(decode_timeout_s)
        self._sandbox = Sandbox(memory_mb, timeout_s or decode_timeout_s, seconds=expected_s)
        self._is_warm = False
        self._used_at = 0.0

    def decode(self, data: bytes, side: int) -> Image.Image:
        """Return the image as RGB, as `Decoder` does. Raises BadImage, or DecoderLost if the child crashed or hung."""
        self._used_at = time.monotonic()
        self._warm_up(side)
        try:
            return self._decode(data, side)
        except DecoderLost:
            self._is_warm = False
            raise

    def close_if_idle(self) -> None:
        """End a child that has been idle for a while."""
        if self._is_warm and time.monotonic() - self._used_at > _IDLE_S:
            self.close()

    def close(self) -> None:
        """End the child. The next `decode` starts another one."""
        self._sandbox.close()
        self._is_warm = False

    def _warm_up(self, side: int) -> None:
        for _ in range(0 if self._is_warm else _WARM_TRIES):
            try:
                self._decode(_SMALLEST_GIF, side)
                break
            except DecoderLost:  # on a busy machine the start may exceed the limit: try again
                continue
            except BadImage:  # it refuses so small a picture, so it runs
                break
        self._is_warm = True

    def _decode(self, data: bytes, side: int) -> Image.Image:
        try:
            return self._sandbox.pixels(data, side)
        except Failed as error:
            raise (DecoderLost if error.lost else BadImage)(str(error)) from None
