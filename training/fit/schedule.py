"""Learning-rate schedules."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi


@dataclass(frozen=True, slots=True)
class Cosine:
    """A linear rise from 0 to `highest` over `warmup` steps, then half a cosine to 0 at `steps` (Loshchilov 2017)."""

    highest: float
    steps: int
    warmup: int

    def rate(self, step: int) -> float:
        """Return the rate of a step from 0 to `steps` − 1."""
        if step < self.warmup:
            return self.highest * (step + 1) / self.warmup
        done = (step - self.warmup) / max(self.steps - self.warmup, 1)
        return self.highest * (1 + cos(pi * min(done, 1))) / 2
