"""A fake GPU: the processor computes, and a test decides when a batch is done and how much memory there is."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from app_tier.engines.devices import CpuDevice, Replay, Stream
from app_tier.engines.precision import FP32, Precision


class FakeStream:
    def __init__(self, gpu: FakeGpu) -> None:
        self._gpu = gpu

    def current(self) -> AbstractContextManager[object]:
        return nullcontext()

    def mark(self) -> Callable[[], None]:
        return self._gpu.wait

    def capture(self, compute: Callable[[], Tensor]) -> tuple[Replay, Tensor]:
        if self._gpu.refuses_capture:
            raise RuntimeError("operation not permitted when stream is capturing\nmore lines")
        outputs = compute().clone()
        self._gpu.captured.append(len(outputs))

        def replay() -> None:
            self._gpu.replayed.append(len(outputs))
            outputs.copy_(compute())

        return replay, outputs


class FakeGpu(CpuDevice):
    """Set `paused` to keep batches under way. `refuses` chooses files that its decoder does not take."""

    under_way = 2
    at_once = 0
    captures = True
    has_jpeg_decoder = True

    def __init__(self, precision: Precision = FP32, at_once: int = 0) -> None:
        self.precision = precision
        self.name = f"cuda {precision.name} (Fake)"
        self.at_once = at_once
        self.captured: list[int] = []
        self.replayed: list[int] = []
        self.decoded: list[int] = []
        self.refuses_capture = False
        self.refuses: Callable[[bytes], bool] = lambda data: False
        self._go = threading.Event()
        self._go.set()

    def pause(self) -> None:
        self._go.clear()

    def go_on(self) -> None:
        self._go.set()

    def wait(self) -> None:
        assert self._go.wait(60)

    def exact(self) -> CpuDevice:
        return CpuDevice()

    def stream(self) -> Stream:
        return FakeStream(self)

    def decode_jpegs(self, files: Sequence[Tensor]) -> list[Tensor]:
        from torchvision.io import ImageReadMode, decode_jpeg

        self.decoded.append(len(files))
        if any(self.refuses(file.numpy().tobytes()) for file in files):
            raise RuntimeError("nvjpegDecode failed: 3")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return [decode_jpeg(file, ImageReadMode.RGB) for file in files]


class Means(nn.Module):
    """A network whose outputs are the mean of each channel. It has memory for `room` images."""

    def __init__(self, room: int = 1000) -> None:
        super().__init__()
        self.room = room
        self.sizes: list[int] = []

    def forward(self, pixels: Tensor) -> Tensor:
        if len(pixels) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        self.sizes.append(len(pixels))
        return pixels.float().mean((1, 2))
