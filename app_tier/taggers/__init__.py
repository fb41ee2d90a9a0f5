"""A tagger says what is computed: it turns images into pixels for an engine, and the engine's outputs into tags."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt
from PIL import Image

from app_tier.engines import Pixels
from core.messages import Tag, TagOptions

Frame = npt.NDArray[np.uint8]
"""One image as the engine wants it: (height, width, 3), RGB, 0..255."""


class Tagger(Protocol):
    name: str
    version: str
    """Names the exact weights: two workers of one version give one image the same tags."""
    labels: Sequence[str]
    side: int
    """The shorter side, in pixels, of the images that `preprocess` wants at least."""
    shape: tuple[int, int, int]
    """Of a frame."""

    def preprocess(self, image: Image.Image) -> Frame:
        """Cut and scale an RGB image to a frame of `shape`. Called by several threads."""

    def infer(self, frames: Pixels, options: Sequence[TagOptions]) -> list[tuple[Tag, ...]]:
        """Tags of each frame of an (N, height, width, 3) batch, most confident first. One thread at a time."""
