"""Runs networks by torch: on CUDA if there is a GPU, else as the slow, exact reference on the CPU."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch

from app_tier.engines import Outputs, Pixels, modules
from app_tier.models.networks import Network


class TorchEngine:
    """Runs a network on CUDA in bf16, channels_last and compiled, or on the CPU in plain fp32."""

    def __init__(self, network: Network, weights: Path, threads: int) -> None:
        """Build the network. `threads` applies to the CPU only. Raises WeightsInvalid if the file does not fit."""
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        built = modules.build(network, weights)
        module: Callable[[torch.Tensor], torch.Tensor] = built
        if self._device.type == "cuda":
            built.to(self._device)
            built.network.to(dtype=torch.bfloat16, memory_format=torch.channels_last)  # type: ignore[call-overload]
            module = torch.compile(built, dynamic=True)
        else:
            torch.set_num_threads(threads)
        self.best_batch = 64 if self._device.type == "cuda" else 8
        self.name = "torch cuda bf16" if self._device.type == "cuda" else "torch cpu fp32"
        self._module = module

    def infer(self, batch: Pixels) -> Outputs:
        """Run one forward pass."""
        with torch.inference_mode():
            outputs: Outputs = self._module(torch.from_numpy(batch).to(self._device)).float().cpu().numpy()
        return outputs
