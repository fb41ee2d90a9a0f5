"""What differs between a GPU and a processor: streams, pinned memory, graphs. All that is CUDA's own is here.

`CpuDevice` has the same methods and does everything at once, so the code above runs on any machine, and in tests.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol

import torch
from torch import Tensor

from app_tier.engines.precision import FP32, Precision

_AT_ONCE = 8
"""Where nothing is measured."""
Replay = Callable[[], None]
"""Runs a captured computation again, on the values that its inputs have now."""


class Stream(Protocol):
    """A queue of work on the device. The work of two streams overlaps."""

    def current(self) -> AbstractContextManager[object]:
        """Let this thread's torch calls go to this stream while the block runs."""

    def mark(self) -> Callable[[], None]:
        """Return a function that waits until the device has done all that this stream has been given so far."""

    def capture(self, compute: Callable[[], Tensor]) -> tuple[Replay, Tensor]:
        """Record a computation once. Return its replay, and the tensor in which each replay leaves the outputs.

        Raises RuntimeError for a computation that cannot be captured, and OutOfMemoryError.
        """


class Device(Protocol):
    """A device that runs networks."""

    name: str
    """For people: `cuda fp16 (Tesla T4)`."""
    place: torch.device
    precision: Precision
    under_way: int
    """The batches that it takes before the first must be collected."""
    at_once: int
    """The images in a forward pass; 0: to be measured."""
    captures: bool
    """Whether computations can be captured and replayed."""

    def stream(self) -> Stream:
        """Return a new stream."""

    def pinned(self, *shape: int, dtype: torch.dtype) -> Tensor:
        """Return a tensor in the machine's memory from and to which the device copies by itself."""

    def synchronise(self) -> None:
        """Wait for all streams: a stream does not wait for what others have begun."""

    def free_memory(self) -> None:
        """Give back memory that is kept for reuse."""

    def decode_jpegs(self, files: Sequence[Tensor]) -> list[Tensor]:
        """Decode files to (3, height, width) uint8 on the device. Raises RuntimeError if one of them is refused."""

    @property
    def has_jpeg_decoder(self) -> bool:
        """Whether `decode_jpegs` works here."""


class CpuDevice:
    """The processor: it computes in fp32, at once."""

    place = torch.device("cpu")
    precision = FP32
    under_way = 1
    at_once = _AT_ONCE
    captures = False
    has_jpeg_decoder = False

    def __init__(self) -> None:
        self.name = "cpu fp32"

    def stream(self) -> Stream:
        """Return a stream that does everything at once."""
        return _AtOnce()

    def pinned(self, *shape: int, dtype: torch.dtype) -> Tensor:
        """Return a tensor."""
        return torch.zeros(shape, dtype=dtype)

    def synchronise(self) -> None:
        """Do nothing: all is done."""

    def free_memory(self) -> None:
        """Do nothing: the processor's memory is not kept."""

    def decode_jpegs(self, files: Sequence[Tensor]) -> list[Tensor]:
        """Raise RuntimeError: Pillow decodes for the processor."""
        raise RuntimeError("there is no JPEG decoder on this device")


class _AtOnce:
    def current(self) -> AbstractContextManager[object]:
        return nullcontext()

    def mark(self) -> Callable[[], None]:
        return lambda: None

    def capture(self, compute: Callable[[], Tensor]) -> tuple[Replay, Tensor]:
        raise RuntimeError("a processor captures nothing")


class CudaDevice:
    """A GPU. Two batches are under way: one is copied or decoded while the other is computed."""

    place = torch.device("cuda")

    def __init__(self, precision: Precision, card: str, *, now_and_then: bool = False) -> None:
        """With `now_and_then` it gets few images: one batch at a time, nothing measured, nothing captured."""
        self.precision = precision
        self.under_way = 1 if now_and_then else 2
        self.at_once = _AT_ONCE if now_and_then else 0
        self.captures = not now_and_then
        self._card = card
        self.name = f"cuda {precision.name} ({card})"
        # fp32 is for exact results; by default cuDNN would round its inputs to TF32's ten bits.
        torch.backends.cudnn.allow_tf32 = False

    def exact(self) -> CudaDevice:
        """Return the same card in fp32, for few images."""
        return CudaDevice(FP32, self._card, now_and_then=True)

    def stream(self) -> Stream:
        """Return a new stream."""
        return _CudaStream()

    def pinned(self, *shape: int, dtype: torch.dtype) -> Tensor:
        """Return page-locked memory: only from and to such memory are copies asynchronous."""
        return torch.zeros(shape, dtype=dtype).pin_memory()

    def synchronise(self) -> None:
        """Wait for the card."""
        torch.cuda.synchronize()

    def free_memory(self) -> None:
        """Return torch's cached blocks to the driver."""
        torch.cuda.empty_cache()

    @property
    def has_jpeg_decoder(self) -> bool:
        """Whether torchvision was built with nvJPEG."""
        import torchvision.io  # noqa: F401  # registers the operators

        return hasattr(torch.ops.image, "decode_jpegs_cuda")

    def decode_jpegs(self, files: Sequence[Tensor]) -> list[Tensor]:
        """Decode by nvJPEG.

        The decoder works on a stream of its own, and may write into memory that was freed on the caller's stream while
        work there still reads it (pytorch/vision#9606). So the caller's stream is emptied first.
        """
        from torchvision.io import ImageReadMode, decode_jpeg

        torch.cuda.current_stream().synchronize()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # in favour of torchcodec, which is another package
            decoded: list[Tensor] = decode_jpeg(list(files), ImageReadMode.RGB, self.place)
        return decoded


class _CudaStream:
    def __init__(self) -> None:
        self._stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._pool = torch.cuda.graph_pool_handle()

    def current(self) -> AbstractContextManager[object]:
        return torch.cuda.stream(self._stream)

    def mark(self) -> Callable[[], None]:
        # Blocking: waiting must not occupy a core that could decode.
        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]
        event.record(self._stream)
        return event.synchronize

    def capture(self, compute: Callable[[], Tensor]) -> tuple[Replay, Tensor]:
        with self.current():
            compute()  # loads kernels and makes workspaces, neither of which can be captured
        self._stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        # Only this thread is watched: a tagger that serves meanwhile allocates in others. A capture that fails leaves
        # its stream the current one, which the outer block undoes.
        capture = torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local")
        with self.current(), capture:
            outputs = compute()
        return graph.replay, outputs


def time_one(compute: Callable[[], object], stream: Stream, repeat: int = 3) -> float:
    """Return the seconds that `compute` takes on the device, after a first run that does not count."""
    with stream.current():
        compute()
        stream.mark()()
        started = time.perf_counter()
        for _ in range(repeat):
            compute()
        stream.mark()()
    return (time.perf_counter() - started) / repeat
