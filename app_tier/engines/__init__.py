"""An engine runs a network: uint8 pixels in, raw outputs out. It knows nothing of tags."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
"""(N, height, width, 3), RGB, 0..255: normalisation is part of the network, so a quarter of the bytes move."""

Outputs = npt.NDArray[np.float32]
"""(N, outputs): what the network's last layer gives, before any softmax."""


class Engine(Protocol):
    name: str
    """For people: `openvino bf16`, `torch cuda bf16`."""

    def infer(self, batch: Pixels) -> Outputs:
        """One forward pass over a batch of any size. Called by one thread at a time."""


@dataclass(frozen=True, slots=True)
class Engines:
    """`fast` runs every image; `exact` makes an fp32 engine for those that it leaves open, None where it is exact.

    Left open is an image whose two highest outputs differ by less than `near_tie`.
    """

    fast: Engine
    exact: Callable[[], Engine] | None = None
    near_tie: float = 0.0
