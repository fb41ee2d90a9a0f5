"""The golden picture: a fixed input, and a check that an engine gives the reference's outputs for it."""

from __future__ import annotations

import numpy as np

from app_tier.engines import Engine, Outputs, Pixels
from core.errors import WeightsInvalid

MIN_COSINE = 0.98
"""For bf16, which gives 0.999 and more. A wrong network, a damaged file or faulty instructions give far less."""


def pixels(size: int) -> Pixels:
    """Return a (1, size, size, 3) picture of smooth gradients and a disc, the same on every machine."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    disc = ((x - 0.5) ** 2 + (y - 0.45) ** 2 < 0.09).astype(np.float32)
    picture = np.stack([0.3 + 0.6 * disc, 0.2 + 0.5 * x, 0.8 - 0.6 * y], axis=-1)
    return (picture * 255).astype(np.uint8)[None]


_REMEDY = "delete the engine cache (the setting `cache`) and start again"


def check(
    engine: Engine, size: int, expected: Outputs, min_cosine: float = MIN_COSINE, remedy: str = _REMEDY, count: int = 1
) -> None:
    """Compare the outputs for `count` golden pictures with `expected`. Raises WeightsInvalid if one differs."""
    rows = engine.infer(np.repeat(pixels(size), count, axis=0))
    lengths = np.linalg.norm(rows, axis=1) * np.linalg.norm(expected)
    cosine = float(np.min(rows @ expected / (lengths + 1e-12)))
    if not cosine >= min_cosine:  # also true for NaN
        raise WeightsInvalid(
            f"engine {engine.name} does not reproduce the reference (cosine {cosine:.4f}, needed: {min_cosine}): "
            f"{remedy}"
        )
