"""The golden picture: a fixed input, and a check that an engine gives the reference's outputs for it."""

from __future__ import annotations

import numpy as np

from app_tier.engines import Engine, Outputs, Pixels
from core.errors import WeightsInvalid

MIN_COSINE = 0.98
"""bf16 gives 0.999 and more. A wrong network, a damaged file or a faulty instruction set gives far less."""


def pixels(size: int) -> Pixels:
    """Return a (1, size, size, 3) picture of smooth gradients and a disc, the same on every machine."""
    y, x = np.mgrid[0:size, 0:size].astype(np.float32) / size
    disc = ((x - 0.5) ** 2 + (y - 0.45) ** 2 < 0.09).astype(np.float32)
    picture = np.stack([0.3 + 0.6 * disc, 0.2 + 0.5 * x, 0.8 - 0.6 * y], axis=-1)
    return (picture * 255).astype(np.uint8)[None]


def check(engine: Engine, size: int, expected: Outputs) -> None:
    """Compare the engine's outputs for the golden picture with `expected`. Raises WeightsInvalid if they differ."""
    outputs = engine.infer(pixels(size))[0]
    cosine = float(np.dot(outputs, expected) / (np.linalg.norm(outputs) * np.linalg.norm(expected) + 1e-12))
    if not cosine >= MIN_COSINE:  # also true for NaN
        raise WeightsInvalid(
            f"engine {engine.name} does not reproduce the reference (cosine {cosine:.3f}, needed: {MIN_COSINE}): "
            "delete the engine cache (the setting `cache`) and start again"
        )
