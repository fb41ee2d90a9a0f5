"""A running mean of a network's weights: usually better than the last weights, and never noisier."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


class Ema(Generic[Module]):
    """`module` is a copy whose weights are the mean; its batch statistics are averaged too."""

    def __init__(self, module: Module, decay: float) -> None:
        self.module = copy.deepcopy(module).eval().requires_grad_(False)
        self._decay = decay

    def update(self, module: nn.Module, step: int) -> None:
        """Add the weights after optimiser step `step`, from 1. Early on the mean forgets faster: it began at random."""
        decay = min(self._decay, step / (step + 9))
        ours, theirs = self.module.state_dict(), module.state_dict()
        with torch.no_grad():
            for name, mean in ours.items():
                if mean.is_floating_point():
                    mean.lerp_(theirs[name].to(mean.dtype), 1 - decay)
                else:
                    mean.copy_(theirs[name])
