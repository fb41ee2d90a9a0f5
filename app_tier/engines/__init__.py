"""An engine runs a network: uint8 pixels in, raw outputs out. It knows nothing of tags.

Modules that import torch, OpenVINO or transformers are imported only to make such an engine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
"""(N, height, width, 3), RGB, 0..255. The network normalises them itself, so only a quarter of the bytes are moved."""

Outputs = npt.NDArray[np.float32]
"""(N, outputs): the values of the network's last layer, before any softmax."""


class Engine(Protocol):
    """Runs one network on one device."""

    name: str
    """The engine's name for people: `openvino bf16`, `torch cuda bf16`, `openvino int8, near-ties in bf16`."""
    best_batch: int
    """The number of images in one call of `infer` at which it is fastest on this machine."""

    def infer(self, batch: Pixels) -> Outputs:
        """Run one forward pass over a batch of any size. One thread at a time."""


@dataclass(frozen=True, slots=True)
class Engines:
    """The engines of one tagger. `fast` runs every image.

    `exact` makes an engine for near-ties: images whose two highest outputs differ by less than `near_tie`. It is None
    if `fast` is exact. `settling.with_settling` makes one engine of both.
    """

    fast: Engine
    exact: Callable[[], Engine] | None = None
    near_tie: float = 0.0
    exact_precision: str = "fp32"
    """The precision of `exact`, for people."""
