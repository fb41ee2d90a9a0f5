"""Settles near-ties: images whose two highest outputs are close run again on a more exact engine.

A fast precision rounds. Where two outputs differ by less than the rounding, the wrong one of them may come out on top.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from app_tier.engines import Engine, Engines, Outputs, Pixels


class SettlingEngine:
    """Runs all images on the fast engine, and the near-ties among them again on the exact one.

    The exact engine is made at the first near-tie. It may be a `SettlingEngine` itself.
    """

    def __init__(self, engines: Engines) -> None:
        """Raises ValueError if there is no exact engine."""
        if engines.exact is None:
            raise ValueError(f"{engines.fast.name} has no exact engine beside it")
        self.name = f"{engines.fast.name}, near-ties in {engines.exact_precision}"
        self.best_batch = engines.fast.best_batch
        self.settled = 0
        """The number of images that have been computed again."""
        self._fast = engines.fast
        self._exact = cache(engines.exact)
        self._near_tie = engines.near_tie

    def infer(self, batch: Pixels) -> Outputs:
        """Run one forward pass of all images, and one of the near-ties."""
        outputs = self._fast.infer(batch)
        close = margins(outputs) < self._near_tie
        if close.any():
            outputs[close] = self._exact().infer(batch[close])
            self.settled += int(close.sum())
        return outputs


def with_settling(engines: Engines) -> Engine:
    """Return an engine that settles near-ties, or the fast engine if that is exact."""
    return SettlingEngine(engines) if engines.exact else engines.fast


def margins(outputs: Outputs) -> Outputs:
    """Return the difference between the two highest values of each row of (N, labels) outputs."""
    highest = np.partition(outputs, -2, axis=1)[:, -2:]
    difference: Outputs = highest[:, 1] - highest[:, 0]
    return difference
