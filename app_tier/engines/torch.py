"""Runs networks by torch: on a GPU, or as the slow, exact reference on the CPU.

1. At load, a probe chooses the number of images in a forward pass (`batch_probe.py`). Nothing is compiled: for that
   number and a few smaller ones, the computation is captured as a CUDA graph, which is replayed.
2. Two batches are under way, each in a lane: its own stream, page-locked buffers, and graphs. While one lane computes,
   the other is filled, from the machine's memory and from JPEGs decoded on the device.
3. If the device runs out of memory, the batch is halved and goes on, and later batches stay as small.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import torch

from app_tier.engines import AnyFrame, DeviceFrame, Done, Outputs, Pending, Pixels, golden, modules
from app_tier.engines.batch_probe import choose_batch
from app_tier.engines.device_jpegs import DeviceJpegs
from app_tier.engines.devices import CpuDevice, Device, time_one
from app_tier.engines.lanes import Batch, Lane
from app_tier.engines.precision import FP32
from app_tier.models.networks import Network
from core import telemetry
from core.errors import GpuUnusable
from core.imaging.plain_jpeg import PlainJpeg

_SMALLER = (8, 32)
"""Batches that are not full run in the graph of the next of these sizes."""
_REMEDY = "end this machine, or check the weights"


def load(network: Network, weights: Path, device: Device | None = None, *, threads: int = 0) -> TorchEngine:
    """Load a network onto `device` (None: the CPU) and check it. Raises WeightsInvalid, GpuUnusable.

    `threads` applies to the CPU only; 0 leaves torch's own number.
    """
    device = device or CpuDevice()
    if threads and device.place.type == "cpu":
        torch.set_num_threads(threads)
    module, expected = modules.build_and_check(network, weights)
    return _put_on(device, module, network, expected)


def load_with_exact(
    network: Network, weights: Path, device: Device, exact_device: Device
) -> tuple[TorchEngine, TorchEngine]:
    """Load a network onto `device`, and beside it onto `exact_device`, which computes in fp32. Raises as `load` does.

    The exact one comes first, so that the probe of the other finds the memory that is left.
    """
    module, expected = modules.build_and_check(network, weights)
    copy = deepcopy(module).to(exact_device.place)
    exact = TorchEngine(copy, network.crop, len(expected), exact_device)
    return _put_on(device, module, network, expected), exact


def _put_on(device: Device, module: modules.PixelNetwork, network: Network, expected: Outputs) -> TorchEngine:
    """Move a module to the device, in its precision, and check that it still gives `expected`."""
    module.to(device.place)
    if device.precision is not FP32:
        module.network = modules.fold_batch_norms(module.network)
        module.network.to(dtype=device.precision.dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    engine = TorchEngine(module, network.crop, len(expected), device, _open_decoder(network, device))
    for count in (1,) if device.under_way == 1 else (1, engine.best_batch):
        for _ in range(device.under_way):  # in every lane
            golden.check(engine, network.crop, expected, device.precision.min_cosine, _REMEDY, count)
    return engine


class TorchEngine:
    """Runs a module on a device. Safe for several threads."""

    def __init__(
        self,
        module: modules.PixelNetwork,
        side: int,
        outputs: int,
        device: Device,
        decoder: DeviceJpegs | None = None,
    ) -> None:
        """`module` gives so many `outputs` for pictures of `side` pixels. Raises GpuUnusable."""
        self.name = f"torch {device.name}"
        self.under_way = device.under_way
        self.decodes_jpegs = decoder is not None
        self._module = module
        self._device = device
        self._decoder = decoder
        self._shape = (side, outputs)
        self._shrinking = threading.Lock()
        device.synchronise()  # the weights were moved on another stream than the lanes'
        self.best_batch = device.at_once or self._probe()
        self._lanes: SimpleQueue[Lane] = SimpleQueue()
        for lane in self._make_lanes():
            self._lanes.put(lane)

    @property
    def most_at_once(self) -> int | None:
        """The most images in one batch: on a GPU as many as its memory was measured for."""
        return self.best_batch if self.under_way > 1 else None

    def infer(self, batch: Pixels) -> Outputs:
        """Run one forward pass."""
        return self.submit(list(batch)).result()

    def decode(self, jpegs: Sequence[PlainJpeg]) -> list[DeviceFrame | None]:
        """Decode JPEGs on the device. None for those that it refuses, or that look blank."""
        return self._decoder.decode(jpegs) if self._decoder else [None] * len(jpegs)

    def submit(self, frames: Sequence[AnyFrame]) -> Pending:
        """Start a forward pass. Raises GpuUnusable where the device has no memory for one image."""
        lane, batch = self._lanes.get(), Batch.of(frames)
        try:
            if len(batch) <= self.best_batch:
                try:
                    return lane.start(batch, give_back=partial(self._lanes.put, lane))
                except torch.OutOfMemoryError:
                    self._shrink(len(batch))
            outputs = self._run_in_pieces(lane, batch)
        except BaseException:
            self._lanes.put(lane)
            raise
        self._lanes.put(lane)
        return Done(batch, outputs)

    # --- memory -------------------------------------------------------------------------------

    def _run_in_pieces(self, lane: Lane, batch: Batch) -> Outputs:
        """Run a batch that is too large in several passes, halved whenever memory does not suffice."""
        pieces: list[Outputs] = []
        done = 0
        while done < len(batch):
            piece = batch.part(done, done + self.best_batch)
            try:
                pieces.append(lane.start(piece).result())
            except torch.OutOfMemoryError:
                self._shrink(len(piece))
                continue
            done += len(piece)
        return batch.in_order(np.concatenate(pieces))

    def _shrink(self, failed: int) -> None:
        """Halve the batch that was too large, for good. Raises GpuUnusable if it was one image."""
        self._device.free_memory()
        if failed == 1:
            raise GpuUnusable(f"{self.name}: there is no memory for one image; something else uses this GPU")
        with self._shrinking:
            self.best_batch = min(self.best_batch, failed // 2)
        telemetry.logger().warning(
            "the GPU is out of memory: smaller batches from now on", engine=self.name, at_once=self.best_batch
        )

    # --- load ---------------------------------------------------------------------------------

    def _probe(self) -> int:
        stream, side = self._device.stream(), self._shape[0]

        def seconds(size: int) -> float:
            try:
                with stream.current(), torch.inference_mode():
                    pixels = torch.zeros((size, side, side, 3), dtype=torch.uint8, device=self._device.place)
                    return time_one(lambda: self._module(pixels), stream)
            finally:
                self._device.free_memory()

        try:
            return choose_batch(seconds)
        except torch.OutOfMemoryError:
            raise GpuUnusable(f"{self.name}: there is no memory for one image; something else uses this GPU") from None

    def _make_lanes(self) -> list[Lane]:
        """Return the lanes, of smaller batches if memory does not suffice for all of them."""
        while True:
            try:
                return [self._make_lane() for _ in range(self.under_way)]
            except torch.OutOfMemoryError:
                self._shrink(self.best_batch)

    def _make_lane(self) -> Lane:
        side, outputs = self._shape
        lane = Lane(self._module, self._device, (self.best_batch, side, side, 3), outputs)
        sizes = [*(size for size in _SMALLER if size < self.best_batch), self.best_batch]
        if self._device.captures:
            lane.capture(sizes)
        return lane


def _open_decoder(network: Network, device: Device) -> DeviceJpegs | None:
    """Return the device's decoder of JPEGs, if there is one and it gives the CPU's frames."""
    if not device.has_jpeg_decoder:
        return None
    decoder = DeviceJpegs(device, network)
    if (difference := decoder.difference()) is None or difference > DeviceJpegs.TOLERANCE:
        telemetry.logger().warning(
            "JPEGs are decoded on the CPU: the GPU's decoder gives other pixels", mean_difference=difference
        )
        return None
    return decoder
