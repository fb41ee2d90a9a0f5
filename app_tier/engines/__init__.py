"""An engine runs a network: uint8 pixels in, raw outputs out. It knows nothing of tags.

Modules that import torch, OpenVINO or transformers are imported only to make such an engine.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
import numpy.typing as npt

from core.imaging.plain_jpeg import PlainJpeg

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
class DeviceFrame:
    """One frame in a device's memory, as `DeviceEngine.decode` made it."""

    pixels: Any
    """A uint8 tensor, (height, width, 3)."""


AnyFrame: TypeAlias = npt.NDArray[np.uint8] | DeviceFrame
"""One frame, (height, width, 3), in this machine's or the device's memory."""


class Rows(Protocol):
    """The frames of a batch, wherever they are."""

    def __getitem__(self, chosen: Any) -> Pixels:
        """Return the frames that a boolean mask over the batch chooses."""


class Pending(Protocol):
    """A batch that an engine has taken."""

    @property
    def frames(self) -> Rows:
        """The batch's frames, for those that are computed again."""

    def result(self) -> Outputs:
        """Wait for the outputs, in the order of the frames. Has to be called, once; raises what `infer` raises."""


@dataclass(frozen=True, slots=True)
class Done:
    """A batch whose outputs are there."""

    frames: Rows
    outputs: Outputs

    def result(self) -> Outputs:
        """Return the outputs."""
        return self.outputs


@runtime_checkable
class DeviceEngine(Protocol):
    """An engine that takes the next batch while it computes one: most have a device. Safe for several threads."""

    name: str
    best_batch: int
    """It shrinks where a device runs out of memory."""
    most_at_once: int | None
    """The most images in one batch, where a device's memory limits them."""
    under_way: int
    """How many batches may be submitted before the first is collected. 1: it computes in `submit`."""
    decodes_jpegs: bool

    def infer(self, batch: Pixels) -> Outputs:
        """Run one forward pass over a batch of any size."""

    def decode(self, jpegs: Sequence[PlainJpeg]) -> list[DeviceFrame | None]:
        """Decode, turn upright, scale and crop on the device. None for files that it refuses or that look blank."""

    def submit(self, frames: Sequence[AnyFrame]) -> Pending:
        """Start a forward pass. Blocks while `under_way` batches are neither finished nor collected."""


def submit(engine: Engine, frames: Sequence[AnyFrame]) -> Pending:
    """Start a forward pass; an engine without a device of its own computes it now."""
    if isinstance(engine, DeviceEngine):
        return engine.submit(frames)
    batch = np.stack(frames)  # type: ignore[arg-type]  # without a device there are no frames on one
    return Done(batch, engine.infer(batch))


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
