"""Decides whether this machine must compute on a GPU. It imports torch only if it must."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from core.errors import GpuUnusable

if TYPE_CHECKING:
    from app_tier.engines.devices import CudaDevice

DeviceSetting = Literal["auto", "cuda", "cpu"]
DRIVER_FILE = Path("/dev/nvidia0")
"""Exists where NVIDIA's driver has found a card."""


def expects_gpu(device: DeviceSetting, driver_file: Path = DRIVER_FILE) -> bool:
    """Return whether a GPU has to compute here: the setting says so, or leaves it open and the driver shows a card.

    An image that is baked for GPUs sets `cuda`, so that a machine without a working driver is noticed too.
    """
    return device == "cuda" or (device == "auto" and driver_file.exists())


def open_expected_gpu(
    device: DeviceSetting,
    *,
    fp32: bool = False,
    driver_file: Path = DRIVER_FILE,
    find_package: Callable[[str], object] = find_spec,
) -> CudaDevice | None:
    """Return the GPU, checked; None where none is expected. Raises GpuUnusable, in one line."""
    if not expects_gpu(device, driver_file):
        return None
    if find_package("torch") is None:
        raise GpuUnusable(
            "a GPU is expected here and torch is not installed: bake the image with --gpu, run install.sh with --gpu, "
            'or set worker.device to "cpu"'
        )
    from app_tier.engines.cuda import open_gpu

    return open_gpu(fp32=fp32)
