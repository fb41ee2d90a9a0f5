"""Where a GPU is expected, one that does not compute is refused in one line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from app_tier.engines.cuda import TorchCuda, open_gpu
from app_tier.engines.gpu_choice import expects_gpu, open_expected_gpu
from app_tier.engines.precision import BF16, FP16, Capability, Precision, precision_of
from core.errors import GpuUnusable


@pytest.mark.parametrize(
    ("capability", "precision"), [((7, 0), FP16), ((7, 5), FP16), ((8, 0), BF16), ((8, 9), BF16), ((10, 0), BF16)]
)
def test_bf16_from_ampere_on_and_fp16_before(capability: Capability, precision: Precision) -> None:
    assert precision_of(capability) is precision


def multiply(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    return left @ right


def fail(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    raise RuntimeError("CUDA error: an illegal memory access was encountered\nCUDA kernel errors might be …")


@dataclass
class FakeCuda:
    """A Tesla T4."""

    why: str = ""
    of: Capability = (7, 5)
    built_for: Sequence[str] = ("sm_75", "sm_86")
    multiplies: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = multiply

    def why_unavailable(self) -> str:
        return self.why

    def card(self) -> str:
        return "Tesla T4"

    def capability(self) -> Capability:
        return self.of

    def architectures(self) -> Sequence[str]:
        return self.built_for

    def product(self, left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
        return self.multiplies(left, right)


def test_a_gpu_that_computes_is_opened_in_its_precision() -> None:
    device = open_gpu(FakeCuda())
    assert (device.name, device.precision, device.under_way) == ("cuda fp16 (Tesla T4)", FP16, 2)
    assert open_gpu(FakeCuda(of=(8, 9))).name == "cuda bf16 (Tesla T4)"
    exact = open_gpu(FakeCuda(), fp32=True)
    assert exact.name == device.exact().name == "cuda fp32 (Tesla T4)"


@pytest.mark.parametrize(
    ("cuda", "says"),
    [
        (FakeCuda(why="Found no NVIDIA driver on your system"), "CUDA does not work: Found no NVIDIA driver"),
        (FakeCuda(of=(7, 0)), "Tesla T4 has compute capability 7.0, and torch"),
        (FakeCuda(multiplies=fail), "Tesla T4 cannot compute: CUDA error: an illegal memory access was encountered;"),
        (FakeCuda(multiplies=lambda left, right: left @ right * torch.nan), "computes a product of matrices wrongly"),
        (FakeCuda(multiplies=lambda left, right: left @ right * 0), "computes a product of matrices wrongly"),
    ],
)
def test_one_that_does_not_is_refused(cuda: FakeCuda, says: str) -> None:
    with pytest.raises(GpuUnusable) as refused:
        open_gpu(cuda)
    assert says in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_torch_says_why_there_is_none() -> None:
    assert "driver" in TorchCuda().why_unavailable().lower() or "without CUDA" in TorchCuda().why_unavailable()


def test_a_gpu_is_expected_by_the_setting_or_where_the_driver_shows_one(tmp_path: Path) -> None:
    shown, none = tmp_path / "nvidia0", tmp_path / "nothing"
    shown.touch()
    assert [expects_gpu(setting, shown) for setting in ("auto", "cuda", "cpu")] == [True, True, False]
    assert [expects_gpu(setting, none) for setting in ("auto", "cuda", "cpu")] == [False, True, False]
    assert open_expected_gpu("auto", driver_file=none) is None
    assert open_expected_gpu("cpu", driver_file=shown) is None
    with pytest.raises(GpuUnusable, match="torch is not installed: bake the image with --gpu"):
        open_expected_gpu("auto", driver_file=shown, find_package=lambda name: None)
