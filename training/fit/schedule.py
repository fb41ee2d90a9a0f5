"""The learning rate of each step."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi


@dataclass(frozen=True, slots=True)
class Cosine:
    """From 0 straight up to `highest` in `warmup` steps, then down half a cosine to 0 at `steps` (Loshchilov 2017)."""

    highest: float
    steps: int
    warmup: int

    def rate(self, step: int) -> float:
        """Of step 0, 1, …, steps − 1."""
        if step < self.warmup:
            return self.highest * (step + 1) / self.warmup
        done = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.highest * (1 + cos(pi * min(done, 1))) / 2
