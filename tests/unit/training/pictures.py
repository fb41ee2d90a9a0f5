"""Labelled pictures that a network of some hundred thousand weights learns within a few steps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

COLOURS = {"blue": (30, 60, 200), "green": (40, 180, 60), "red": (210, 40, 30)}


def folder_of_classes(folder: Path, each: int = 10, side: int = 40, seed: int = 7) -> Path:
    """Make `each` noisy pictures per colour, in a folder for each class. Another seed gives other pictures."""
    random = np.random.default_rng(seed)
    for name, colour in COLOURS.items():
        (folder / name).mkdir(parents=True)
        for number in range(each):
            noise = random.integers(-60, 60, (side, side, 3))
            pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{number}.png")
    return folder
