"""Scales and crops an image to the frame that a network takes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from app_tier.models.networks import Network

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


def to_frame(image: Image.Image, network: Network) -> npt.NDArray[np.uint8]:
    """Scale the shorter side to `network.resize` and crop the centre, in one resampling of the part that is kept."""
    width, height = image.size
    cut = network.crop * min(width, height) / network.resize
    left, top = (width - cut) / 2, (height - cut) / 2
    small = image.resize(
        (network.crop, network.crop), _FILTERS[network.interpolation], box=(left, top, left + cut, top + cut)
    )
    return np.asarray(small)
