"""The content of an image's header: its size, and estimates of the memory and time that decoding takes."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Header:
    """An image's header, read without a decoder. Estimates are for one decode; `memory` considers the scale."""

    format: str
    """Pillow's name of the format."""
    width: int
    height: int
    data: bytes
    """The file to give to a decoder: repaired at its end, without parts that no picture needs."""
    pixel_bytes: float
    """Peak memory per decoded pixel, conversions included."""
    seconds: float
    """Estimated time of a decode, on one core."""
    extra_bytes: int = 0
    """Memory that does not depend on the scale: coefficients, strips, tiles."""
    scalable: bool = False
    """Whether its decoder can scale by 1/2, 1/4 and 1/8 (JPEG)."""
    scans: int = 1
    scan_samples: int = 0
    """Samples of all scans together, counted once for each scan that passes over them (JPEG)."""
    baseline: bool = False
    """Whether it is a baseline JPEG with one scan, the kind that every decoder reads."""
    unended: bool = False
    """The last scan may be complete although its end is missing: check it strictly (JPEG)."""

    @property
    def pixels(self) -> int:
        return self.width * self.height

    def scale(self, side: int) -> int:
        """Return the factor by which the decoder can divide both sides and leave both at `side` or more."""
        if not self.scalable:
            return 1
        room = min(self.width, self.height) // max(1, side)
        return next(scale for scale in (8, 4, 2, 1) if room >= scale or scale == 1)

    def memory(self, side: int) -> int:
        """Return the estimated bytes at the scale that `side` allows."""
        scale = self.scale(side)
        decoded = -(-self.width // scale) * -(-self.height // scale)
        return int(decoded * self.pixel_bytes) + self.extra_bytes
