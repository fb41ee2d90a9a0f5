"""Runs networks by OpenVINO on the CPU. Each is converted once and kept, so that a worker starts without torch."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import openvino as ov

from app_tier.engines import AnyFrame, DeviceFrame, Outputs, Pending, Pixels, golden
from app_tier.models.networks import Network
from core.imaging.plain_jpeg import PlainJpeg
from core.util.atomic import atomic_folder

GOLDEN = "golden.npy"
_FORMAT = 1  # of a converted network; grows when the conversion changes


@dataclass(frozen=True, slots=True)
class ConvertedNetwork:
    """A converted network on disk: `model.xml`, `model.bin`, and the reference's outputs for the golden picture."""

    folder: Path
    int8: bool = False
    """Whether its weights and most of its computation are eight bits wide."""

    @property
    def model(self) -> Path:
        """The file to load."""
        return self.folder / "model.xml"

    def golden_outputs(self) -> Outputs:
        """Return the outputs that an engine of this network must reproduce."""
        outputs: Outputs = np.load(self.folder / GOLDEN, allow_pickle=False)
        return outputs


class OpenVinoEngine:
    """Runs a converted network, several batches at a time. Safe for several threads.

    The threads of one stream wait for each other after each layer, so whatever else runs on the machine slows all of
    them. Streams do not wait for each other: see `_count_streams`.

    With `bf16` it computes in bf16 if the processor can, else in fp32; of an int8 network this affects only the part in
    floating point.
    """

    best_batch = 8
    most_at_once = None
    decodes_jpegs = False

    def __init__(self, converted: ConvertedNetwork, threads: int, *, bf16: bool) -> None:
        bf16 = bf16 and has_bf16()
        self.under_way = _count_streams(threads)
        compiled = ov.Core().compile_model(
            converted.model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": self.under_way,
            },
        )
        self.bf16 = bf16
        self.name = f"openvino {'int8' if converted.int8 else 'bf16' if bf16 else 'fp32'}"
        self._requests: SimpleQueue[ov.InferRequest] = SimpleQueue()
        for _ in range(self.under_way):
            self._requests.put(compiled.create_infer_request())
        self._inferring = threading.Lock()

    def infer(self, batch: Pixels) -> Outputs:
        """Run a forward pass on each stream, each of a part of the batch."""
        parts = np.array_split(batch, max(1, min(self.under_way, len(batch))))
        with self._inferring:  # two that wait for a second stream each would wait for ever
            pending = [self.submit(part) for part in parts]
            return np.concatenate([part.result() for part in pending])

    def decode(self, jpegs: Sequence[PlainJpeg]) -> list[DeviceFrame | None]:
        """Refuse all: there is no device."""
        return [None] * len(jpegs)

    def submit(self, frames: Sequence[AnyFrame] | Pixels) -> Pending:
        """Start a forward pass. Blocks while each stream has one."""
        batch = frames if isinstance(frames, np.ndarray) else np.stack(frames)  # type: ignore[arg-type]  # no device
        request = self._requests.get()
        try:
            request.start_async({0: batch}, share_inputs=True)
        except BaseException:
            self._requests.put(request)
            raise
        return _UnderWay(batch, request, self._requests)


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A batch on a stream. It keeps the frames, which the stream reads where they are."""

    frames: Pixels
    request: ov.InferRequest
    requests: SimpleQueue[ov.InferRequest]

    def result(self) -> Outputs:
        """Wait for the outputs, and free the stream."""
        try:
            self.request.wait()
            outputs: Outputs = self.request.get_output_tensor(0).data.copy()  # the request reuses its own buffer
        finally:
            self.requests.put(self.request)
        return outputs


def _count_streams(threads: int) -> int:
    """Return how many batches run at a time: two of them on up to eight threads, then one for each four threads.

    On two cores, decoding beside it, two streams of one thread took 7 to 9 % less processor time than one stream of
    two; while other programs ran they tagged 1.3 to 2.2 times as many images a second.
    """
    return min(threads, max(2, threads // 4))


def has_bf16() -> bool:
    """Return whether this processor computes in bf16."""
    return "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")


def convert_once(network: Network, weights: Path, weights_hash: str, cache: Path) -> ConvertedNetwork:
    """Return the converted network from the cache, or convert it now (about 10 s, imports torch).

    Raises WeightsInvalid if the weights do not fit the network, or give NaN or infinite outputs.
    """
    folder = folder_of(network, weights_hash, cache)
    return make_once(folder, lambda part: _convert(network, weights, part))


def folder_of(network: Network, weights_hash: str, cache: Path) -> Path:
    """Return the folder in the cache for the converted form of these weights."""
    name = network.file_name if network.head else f"{network.file_name}-features"
    return cache / "engines" / f"{name}-{weights_hash[:16]}-openvino{ov.get_version().split('-')[0]}-{_FORMAT}"


def make_once(folder: Path, fill: Callable[[Path], None]) -> ConvertedNetwork:
    """Return the converted network in `folder`; `fill` makes it if there is none. It appears whole or not at all."""
    return ConvertedNetwork(atomic_folder(folder, fill))


def _convert(network: Network, weights: Path, folder: Path) -> None:
    import torch

    from app_tier.engines import modules

    module, outputs = modules.build_and_check(network, weights)
    np.save(folder / GOLDEN, outputs)
    picture = golden.pixels(network.crop)
    shape = ov.PartialShape([-1, network.crop, network.crop, 3])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch deprecates the tracing that OpenVINO still uses
        model = ov.convert_model(module, example_input=torch.from_numpy(picture), input=(shape, ov.Type.u8))
    ov.save_model(model, folder / "model.xml", compress_to_fp16=False)
