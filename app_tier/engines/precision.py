"""The number formats in which torch computes, and which of them suits a GPU."""

from __future__ import annotations

from dataclasses import dataclass

import torch

Capability = tuple[int, int]
"""A card's compute capability, major and minor: (7, 5) is a T4."""


@dataclass(frozen=True, slots=True)
class Precision:
    """A number format. `min_cosine` is how close an engine must come to fp32's outputs for the golden picture.

    `near_ties` scales a network's near-tie margin, which was measured for bf16.
    """

    name: str
    dtype: torch.dtype
    min_cosine: float
    near_ties: float


FP32 = Precision("fp32", torch.float32, 0.9999, 0.0)
FP16 = Precision("fp16", torch.float16, 0.999, 1 / 4)
"""Three more bits than bf16. Large outputs overflow, and the golden check sees NaN."""
BF16 = Precision("bf16", torch.bfloat16, 0.98, 1.5)
"""torch rounds after each layer, so its errors exceed those of OpenVINO's bf16, for which the margin was measured."""

_FIRST_WITH_BF16: Capability = (8, 0)


def precision_of(capability: Capability) -> Precision:
    """Return what this card's tensor cores compute fast: bf16 from 8.0 on, and fp16 before."""
    return BF16 if capability >= _FIRST_WITH_BF16 else FP16
