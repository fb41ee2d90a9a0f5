"""Losses of multi-label networks, which decide each label independently. All compute in fp32, also under autocast."""

from __future__ import annotations

from collections.abc import Callable
from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional

from training.fit.options import LossName

NAMES: tuple[LossName, ...] = get_args(LossName)

Loss = Callable[[Tensor, Tensor], Tensor]
"""Logits (N, C) and truth (N, C) of 0 and 1 → scalar loss, the mean over all N · C."""


def find_loss(name: LossName) -> Loss:
    """Return the loss of that name, with the parameters of its paper."""
    return _LOSSES[name]


def binary_cross_entropy(outputs: Tensor, truth: Tensor) -> Tensor:
    """Return the mean of −log p, where p is the probability of the truth."""
    return functional.binary_cross_entropy_with_logits(outputs.float(), truth.float())


def focal(outputs: Tensor, truth: Tensor, *, gamma: float = 2.0, alpha: float | None = None) -> Tensor:
    """Return the focal loss −α (1 − p)^γ log p, where p is the probability of the truth.

    `alpha` weights positives and 1 − alpha negatives; None weights both by 1. With gamma 0 and no alpha this is BCE.
    Source: Lin et al. 2017, "Focal Loss for Dense Object Detection", eq. 4 and 5.
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
    """Return the asymmetric loss (ASL): a focal loss with a separate gamma for positives and negatives.

    `clip` is subtracted from a negative's probability, so that easy negatives do not count at all. With both gammas
    and the clip at 0 this is BCE. Source: Ridnik et al. 2021, "Asymmetric Loss For Multi-Label Classification", eq. 7.
    """
    outputs, truth = outputs.float(), truth.float()
    positive = -functional.logsigmoid(outputs) * _power(torch.sigmoid(-outputs), gamma_positive)
    probability = torch.sigmoid(outputs)
    if clip > 0:
        probability = (probability - clip).clamp(min=0)
        negative = -torch.log1p(-probability) * _power(probability, gamma_negative)
    else:
        negative = functional.softplus(outputs) * _power(probability, gamma_negative)
    return (truth * positive + (1 - truth) * negative).mean()


def _power(base: Tensor, exponent: float) -> Tensor:
    """Return base^exponent with a finite gradient at 0 too, where an exponent below 1 would give an infinite one."""
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
