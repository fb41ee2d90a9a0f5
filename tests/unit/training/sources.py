"""Make labelled images in the layouts that people use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

SIZE = (48, 36)


def picture(seed: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """Return a picture of soft patches; each seed gives an unrelated one."""
    noise = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def pictures(folder: Path, *names: str) -> None:
    """Write a different picture for each name."""
    for seed, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture(seed).save(folder / name)


def coco(folder: Path, **changes: Any) -> Path:
    """Write COCO JSON of three images with a box each, and two categories with gaps between their ids.

    `changes` replace whole lists.
    """
    names = ("a.png", "b.png", "c.png")
    pictures(folder / "images", *names)
    width, height = SIZE
    made = {
        "images": [{"id": 10 * n, "file_name": name, "width": width, "height": height} for n, name in enumerate(names)],
        "annotations": [
            {"id": 1, "image_id": 0, "category_id": 3, "bbox": [1, 1, 10, 10]},
            {"id": 2, "image_id": 0, "category_id": 7, "bbox": [0, 0, width, height]},
            {"id": 3, "image_id": 10, "category_id": 7},
        ],
        "categories": [{"id": 7, "name": "dog"}, {"id": 3, "name": "cat"}],
    }
    path = folder / "instances.json"
    path.write_text(json.dumps(made | changes))
    return path
