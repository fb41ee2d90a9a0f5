"""One batch on its way through a device: buffers, a stream, and captured computations for a few sizes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from app_tier.engines import AnyFrame, DeviceFrame, Outputs, Pixels
from app_tier.engines.devices import Device, Replay
from core import telemetry


@dataclass(frozen=True, slots=True)
class Batch:
    """Frames, sorted: first those in the machine's memory, then those on the device. `order` holds their places."""

    here: Sequence[npt.NDArray[np.uint8]]
    there: Sequence[Tensor]
    order: npt.NDArray[np.intp]

    @classmethod
    def of(cls, frames: Sequence[AnyFrame]) -> Batch:
        """Sort frames."""
        places = sorted(range(len(frames)), key=lambda place: isinstance(frames[place], DeviceFrame))
        return cls(
            [frame for frame in frames if not isinstance(frame, DeviceFrame)],
            [frame.pixels for frame in frames if isinstance(frame, DeviceFrame)],
            np.array(places, dtype=np.intp),
        )

    def __len__(self) -> int:
        return len(self.here) + len(self.there)

    def __getitem__(self, chosen: Any) -> Pixels:
        """Return the frames that a boolean mask chooses, copied from the device where they are there."""
        rows = np.empty(len(self), dtype=np.intp)
        rows[self.order] = np.arange(len(self))
        return np.stack([self._frame(row) for row in rows[np.flatnonzero(chosen)]])

    def part(self, first: int, end: int) -> Batch:
        """Return the sorted frames `first` to `end` as a batch, in that order."""
        split = len(self.here)
        here, there = self.here[first:end], self.there[max(0, first - split) : max(0, end - split)]
        return Batch(here, there, np.arange(len(here) + len(there)))

    def in_order(self, outputs: Outputs) -> Outputs:
        """Return the sorted frames' outputs in the order in which the frames came."""
        found = np.empty_like(outputs)
        found[self.order] = outputs
        return found

    def _frame(self, row: int) -> npt.NDArray[np.uint8]:
        if row < len(self.here):
            return self.here[row]
        frame: npt.NDArray[np.uint8] = self.there[row - len(self.here)].cpu().numpy()
        return frame


@dataclass(slots=True)
class UnderWay:
    """A batch on the device. It keeps its frames there until the device has read them."""

    frames: Batch
    outputs: Tensor
    """Page-locked; written once `wait` returns."""
    wait: Callable[[], None]
    give_back: Callable[[], None]

    def result(self) -> Outputs:
        """Wait for the outputs, and let the lane take another batch."""
        try:
            self.wait()
            return self.frames.in_order(self.outputs.numpy())
        finally:
            self.give_back()


class Lane:
    """Runs one batch at a time, of at most `shape[0]` frames."""

    def __init__(
        self, module: Callable[[Tensor], Tensor], device: Device, shape: tuple[int, int, int, int], outputs: int
    ) -> None:
        self._module = module
        self._device = device
        self._stream = device.stream()
        self._staged = device.pinned(*shape, dtype=torch.uint8)
        with self._stream.current():
            self._input = torch.zeros(shape, dtype=torch.uint8, device=device.place)
        self._outputs = device.pinned(shape[0], outputs, dtype=torch.float32)
        self._captured: dict[int, tuple[Replay, Tensor]] = {}

    def capture(self, sizes: Sequence[int]) -> None:
        """Capture the computation for these sizes, so that Python need not launch each kernel. Raises OutOfMemoryError.

        A network that cannot be captured runs without.
        """
        try:
            with torch.inference_mode():
                for size in sorted(sizes, reverse=True):  # later ones reuse the memory of the largest
                    self._captured[size] = self._stream.capture(lambda size=size: self._compute(size))  # type: ignore[misc]
        except torch.OutOfMemoryError:
            raise
        except RuntimeError as error:
            self._captured.clear()
            self._stream = self._device.stream()  # a failed capture may leave the old one unusable
            telemetry.logger().warning("CUDA graphs are not used", why=str(error).partition("\n")[0])

    def start(self, batch: Batch, give_back: Callable[[], None] = lambda: None) -> UnderWay:
        """Copy the batch to the device, compute it and copy the outputs back, all in this lane's stream.

        `give_back` is called when the result has been taken. Raises OutOfMemoryError.
        """
        here, count = len(batch.here), len(batch)
        if here:
            np.stack(batch.here, out=self._staged[:here].numpy())
        with self._stream.current(), torch.inference_mode():
            self._input[:here].copy_(self._staged[:here], non_blocking=True)
            if batch.there:
                torch.stack(list(batch.there), out=self._input[here:count])
            self._outputs[:count].copy_(self._run(count), non_blocking=True)
            return UnderWay(batch, self._outputs[:count], self._stream.mark(), give_back)

    def _run(self, count: int) -> Tensor:
        size = min((size for size in self._captured if size >= count), default=0)
        if not size:
            return self._compute(count)
        replay, outputs = self._captured[size]
        replay()
        return outputs[:count]

    def _compute(self, count: int) -> Tensor:
        return self._module(self._input[:count]).float()
