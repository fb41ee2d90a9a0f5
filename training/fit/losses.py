"""Losses of a multi-label network: each label is a yes or no of its own. All compute in fp32, also under autocast."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional

from training.fit.options import LossName

NAMES: tuple[LossName, ...] = get_args(LossName)

Loss = Callable[[Tensor, Tensor], Tensor]
"""Outputs (N, C) before the sigmoid and truth (N, C) of 0 and 1 → their loss, a scalar: the mean over all N · C."""


def find_loss(name: LossName) -> Loss:
    """By its name, with its paper's parameters."""
    return _LOSSES[name]


def binary_cross_entropy(outputs: Tensor, truth: Tensor) -> Tensor:
    """The mean of −log p of what is true."""
    return functional.binary_cross_entropy_with_logits(outputs.float(), truth.float())


def focal(outputs: Tensor, truth: Tensor, *, gamma: float = 2.0, alpha: float | None = None) -> Tensor:
    """Lin et al. 2017, "Focal Loss for Dense Object Detection", eq. 4 and 5: −α (1 − p)^γ log p, p that of the truth.

    `alpha` weighs positives, 1 − alpha negatives; None leaves both at 1. With gamma 0 and no alpha it is the BCE.
    """
    outputs, truth = outputs.float(), truth.float()
    entropy = functional.binary_cross_entropy_with_logits(outputs, truth, reduction="none")
    wrong = torch.sigmoid(outputs * (1 - 2 * truth))  # 1 − p, without cancellation where p is nearly 1
    values = entropy * _power(wrong, gamma)
    if alpha is not None:
        values = values * (alpha * truth + (1 - alpha) * (1 - truth))
    return values.mean()


def asymmetric(
    outputs: Tensor,
    truth: Tensor,
    *,
    gamma_negative: float = 4.0,
    gamma_positive: float = 1.0,
    clip: float = 0.05,
) -> Tensor:
    """Ridnik et al. 2021, "Asymmetric Loss For Multi-Label Classification", eq. 7: positives and negatives focus apart.

    A negative's probability is lowered by `clip` first, so that easy ones weigh nothing at all. With both gammas and
    the clip 0 it is the BCE.
    """
    outputs, truth = outputs.float(), truth.float()
    positive = -functional.logsigmoid(outputs) * _power(torch.sigmoid(-outputs), gamma_positive)
    said = torch.sigmoid(outputs)
    if clip > 0:
        said = (said - clip).clamp(min=0)
        negative = -torch.log1p(-said) * _power(said, gamma_negative)
    else:
        negative = functional.softplus(outputs) * _power(said, gamma_negative)
    return (truth * positive + (1 - truth) * negative).mean()


def _power(base: Tensor, exponent: float) -> Tensor:
    """The gradient of x⁰ is 0 and that of x^γ finite: also at x = 0, where that of a fractional γ below 1 is not."""
    if exponent == 0:
        return torch.ones_like(base)
    if exponent < 1:
        base = base.clamp(min=torch.finfo(base.dtype).eps)
    return base.pow(exponent)


_LOSSES: dict[LossName, Loss] = {
    "bce": binary_cross_entropy,
    "focal": focal,
    "asl": asymmetric,
}
