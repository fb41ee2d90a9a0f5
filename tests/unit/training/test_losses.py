"""The losses have their published values, and finite gradients for every input."""

from __future__ import annotations

import math
from functools import partial

import pytest
import torch

from training.fit import losses
from training.fit.losses import Loss

PLAIN = {
    "focal": partial(losses.focal, gamma=0.0),
    "asl": partial(losses.asymmetric, gamma_negative=0.0, gamma_positive=0.0, clip=0.0),
}


@pytest.fixture
def case() -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(3)
    return torch.randn(64, 7, generator=made) * 4, (torch.rand(64, 7, generator=made) < 0.2).float()


@pytest.mark.parametrize("name", PLAIN)
def test_without_focus_each_is_the_binary_cross_entropy(name: str, case: tuple[torch.Tensor, torch.Tensor]) -> None:
    outputs, truth = case
    torch.testing.assert_close(PLAIN[name](outputs, truth), losses.binary_cross_entropy(outputs, truth))


def test_focal_loss_of_one_worked_example() -> None:
    p = 0.9
    output = torch.tensor([[math.log(p / (1 - p))]])
    assert losses.focal(output, torch.ones(1, 1), gamma=2.0).item() == pytest.approx(
        -(0.1**2) * math.log(0.9), rel=1e-4
    )
    found = losses.focal(output, torch.zeros(1, 1), gamma=2.0, alpha=0.25).item()
    assert found == pytest.approx(-0.75 * 0.9**2 * math.log(0.1), rel=1e-4)


def test_asymmetric_loss_of_one_worked_example() -> None:
    p = 0.6
    output = torch.tensor([[math.log(p / (1 - p))]])
    negative = losses.asymmetric(output, torch.zeros(1, 1), gamma_negative=4, gamma_positive=1, clip=0.05).item()
    assert negative == pytest.approx(-(0.55**4) * math.log(0.45), rel=1e-4)
    positive = losses.asymmetric(output, torch.ones(1, 1), gamma_negative=4, gamma_positive=1, clip=0.05).item()
    assert positive == pytest.approx(-0.4 * math.log(0.6), rel=1e-4)


def test_a_negative_below_the_clip_weighs_nothing() -> None:
    output = torch.tensor([[math.log(0.04 / 0.96)]], requires_grad=True)
    found = losses.asymmetric(output, torch.zeros(1, 1), clip=0.05)
    found.backward()  # type: ignore[no-untyped-call]
    assert found.item() == 0
    assert output.grad is not None
    assert output.grad.item() == 0


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("name", [*losses.NAMES, "focal 0.5", "asl without clip"])
def test_huge_outputs_give_finite_losses_and_gradients(name: str, dtype: torch.dtype) -> None:
    extra: dict[str, Loss] = {
        "focal 0.5": partial(losses.focal, gamma=0.5),
        "asl without clip": partial(losses.asymmetric, clip=0.0),
    }
    loss = extra[name] if name in extra else losses.find_loss(name)  # type: ignore[arg-type]
    values = torch.tensor([-6e4, -200.0, -88.0, -1.0, 0.0, 1.0, 88.0, 200.0, 6e4], dtype=dtype)
    outputs = values.repeat(2, 1).T.contiguous().requires_grad_()
    truth = torch.tensor([0.0, 1.0]).expand(9, 2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = loss(outputs, truth)
    found.backward()  # type: ignore[no-untyped-call]
    assert found.dtype == torch.float32
    assert torch.isfinite(found)
    assert outputs.grad is not None
    assert torch.isfinite(outputs.grad).all()


@pytest.mark.parametrize("name", losses.NAMES)
def test_a_step_against_the_gradient_lowers_it(name: losses.LossName, case: tuple[torch.Tensor, torch.Tensor]) -> None:
    outputs, truth = case[0].clone().requires_grad_(), case[1]
    before = losses.find_loss(name)(outputs, truth)
    before.backward()  # type: ignore[no-untyped-call]
    assert outputs.grad is not None
    assert losses.find_loss(name)(outputs - 10 * outputs.grad, truth) < before
