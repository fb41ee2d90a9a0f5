"""OpenVINO on the CPU. A network is converted once and kept, so that a worker's start needs no torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openvino as ov

from app_tier.engines import Outputs, Pixels, golden
from app_tier.models.networks import Network
from core.util.atomic import atomic_folder

GOLDEN = "golden.npy"
_FORMAT = 1  # of a kept engine; grows when conversion changes


@dataclass(frozen=True, slots=True)
class Kept:
    """A converted network on disk: `model.xml`, `model.bin` and the reference's outputs for the golden picture."""

    folder: Path
    int8: bool = False
    """Whether its weights and most of what it computes are eight bits wide."""

    @property
    def model(self) -> Path:
        return self.folder / "model.xml"

    def golden_outputs(self) -> Outputs:
        outputs: Outputs = np.load(self.folder / GOLDEN, allow_pickle=False)
        return outputs


class OpenVinoEngine:
    """`bf16` is used where the processor has it, fp32 elsewhere; of an int8 network for what is left of floats."""

    def __init__(self, kept: Kept, threads: int, *, bf16: bool) -> None:
        core = ov.Core()
        bf16 = bf16 and "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        compiled = core.compile_model(
            kept.model,
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "bf16" if bf16 else "f32",
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": 1,  # one batch at a time on all threads: two streams were no faster
            },
        )
        self.bf16 = bf16
        self.name = f"openvino {'int8' if kept.int8 else 'bf16' if bf16 else 'fp32'}"
        self._request = compiled.create_infer_request()

    def infer(self, batch: Pixels) -> Outputs:
        outputs: Outputs = self._request.infer({0: batch})[0]
        return outputs.copy()  # the request reuses its own buffer


def keep(network: Network, weights: Path, weights_hash: str, cache: Path) -> Kept:
    """The kept conversion of these weights, made now if it is not there (about 10 s, imports torch).

    Raises WeightsInvalid if they do not fit the network, or give no finite numbers.
    """
    return whole(folder_of(network, weights_hash, cache), lambda folder: _convert(network, weights, folder))


def folder_of(network: Network, weights_hash: str, cache: Path) -> Path:
    """Where the conversion of these weights is kept."""
    what = network.file_name if network.head else f"{network.file_name}-features"
    return cache / "engines" / f"{what}-{weights_hash[:16]}-openvino{ov.get_version().split('-')[0]}-{_FORMAT}"


def whole(folder: Path, fill: Callable[[Path], None]) -> Kept:
    """The kept engine in `folder`, filled now if it is not there: it appears whole or not at all."""
    return Kept(atomic_folder(folder, fill))


def _convert(network: Network, weights: Path, folder: Path) -> None:
    import torch

    from app_tier.engines import modules

    module, outputs = modules.tried(network, weights)
    np.save(folder / GOLDEN, outputs)
    picture = golden.pixels(network.crop)
    shape = ov.PartialShape([-1, network.crop, network.crop, 3])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # torch deprecates the tracing that OpenVINO still uses
        model = ov.convert_model(module, example_input=torch.from_numpy(picture), input=(shape, ov.Type.u8))
    ov.save_model(model, folder / "model.xml", compress_to_fp16=False)
