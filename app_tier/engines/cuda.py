"""Checks that the GPU of this machine computes before anything relies on it. Imported only where a GPU is expected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch

from app_tier.engines.devices import CudaDevice
from app_tier.engines.precision import FP32, Capability, precision_of
from config.gpus import dotted, runs_on
from core.errors import GpuUnusable

_REMEDY = 'or set worker.device to "cpu"'
_SIDE = 64
_TOLERANCE = 0.05


class Cuda(Protocol):
    """What torch says of the GPU, and one computation on it."""

    def why_unavailable(self) -> str:
        """Return why torch finds no GPU; empty if it finds one."""

    def card(self) -> str:
        """Return the card's name."""

    def capability(self) -> Capability:
        """Return the card's compute capability."""

    def architectures(self) -> Sequence[str]:
        """Return the architectures that this torch has kernels for: `sm_75`."""

    def product(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Return the product of two matrices, computed on the GPU. Raises RuntimeError."""


class TorchCuda:
    """The GPU as torch finds it."""

    def why_unavailable(self) -> str:
        """Return the first line of the driver's or torch's complaint."""
        if torch.cuda.is_available():
            return ""
        if torch.version.cuda is None:
            return f"torch {torch.__version__} is built without CUDA"
        try:
            torch.cuda.init()  # type: ignore[no-untyped-call]
        except (RuntimeError, AssertionError) as error:
            return _first_sentence(error)
        return "torch finds no GPU"

    def card(self) -> str:
        """Return the card's name."""
        return torch.cuda.get_device_name()

    def capability(self) -> Capability:
        """Return the card's compute capability."""
        return torch.cuda.get_device_capability()

    def architectures(self) -> Sequence[str]:
        """Return the architectures of the wheel."""
        return torch.cuda.get_arch_list()

    def product(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        """Multiply on the GPU."""
        return (left.cuda() @ right.cuda()).cpu()


def open_gpu(cuda: Cuda | None = None, *, fp32: bool = False) -> CudaDevice:
    """Return the GPU, which has computed a product of matrices correctly. Raises GpuUnusable, in one line.

    It computes in the precision that suits the card, or in fp32.
    """
    cuda = cuda or TorchCuda()
    if why := cuda.why_unavailable():
        raise GpuUnusable(f"a GPU is expected here and CUDA does not work: {why}; look at nvidia-smi, {_REMEDY}")
    card, capability = cuda.card(), cuda.capability()
    if not runs_on(cuda.architectures(), capability):
        built_for = ", ".join(architecture.removeprefix("sm_") for architecture in cuda.architectures())
        raise GpuUnusable(
            f"{card} has compute capability {dotted(capability)}, and torch {torch.__version__} has kernels for "
            f"{built_for} only: choose another type of instance, {_REMEDY}"
        )
    precision = FP32 if fp32 else precision_of(capability)
    left = torch.linspace(-1, 1, _SIDE * _SIDE).view(_SIDE, _SIDE)
    try:
        product = cuda.product(left.to(precision.dtype), left.T.to(precision.dtype)).float()
    except RuntimeError as error:
        raise GpuUnusable(f"{card} cannot compute: {_first_sentence(error)}; look at nvidia-smi, {_REMEDY}") from None
    expected = left @ left.T
    if not bool((product - expected).abs().max() <= _TOLERANCE * expected.abs().max()):  # also true for NaN
        raise GpuUnusable(f"{card} computes a product of matrices wrongly in {precision.name}: use another machine")
    return CudaDevice(precision, card)


def _first_sentence(error: BaseException) -> str:
    line = (str(error).strip().splitlines() or [type(error).__name__])[0]
    return line.partition(". ")[0].rstrip(".")[:200]
