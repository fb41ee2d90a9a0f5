"""Settles near-ties: images whose two highest outputs are close run again on a more exact engine.

A fast precision rounds. Where two outputs differ by less than the rounding, the wrong one of them may come out on top.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from app_tier.engines import Engine, Engines, Outputs, Pixels, Rows


class NearTies:
    """Settles the near-ties of one tagger. The exact engine is made at the first; without one, nothing is settled."""

    def __init__(self, engines: Engines) -> None:
        self.engine_name = engines.fast.name
        """The names of both engines, for people."""
        if engines.exact:
            self.engine_name += f", near-ties in {engines.exact_precision}"
        self.settled = 0
        """The number of images that have been computed again."""
        self._exact = cache(engines.exact) if engines.exact else None
        self._near_tie = engines.near_tie

    def settle(self, frames: Rows, outputs: Outputs) -> Outputs:
        """Replace the fast engine's outputs of near-ties. Changes `outputs`."""
        if self._exact is None:
            return outputs
        close = margins(outputs) < self._near_tie
        if close.any():
            outputs[close] = self._exact().infer(frames[close])
            self.settled += int(close.sum())
        return outputs


class SettlingEngine:
    """Runs all images on the fast engine, and the near-ties among them again on the exact one, which may settle too."""

    def __init__(self, engines: Engines) -> None:
        self.best_batch = engines.fast.best_batch
        self.near_ties = NearTies(engines)
        self.name = self.near_ties.engine_name
        self._fast = engines.fast

    def infer(self, batch: Pixels) -> Outputs:
        """Run one forward pass of all images, and one of the near-ties."""
        return self.near_ties.settle(batch, self._fast.infer(batch))


def with_settling(engines: Engines) -> Engine:
    """Return an engine that settles near-ties, or the fast engine if that is exact."""
    return SettlingEngine(engines) if engines.exact else engines.fast


def margins(outputs: Outputs) -> Outputs:
    """Return the difference between the two highest values of each row of (N, labels) outputs."""
    highest = np.partition(outputs, -2, axis=1)[:, -2:]
    difference: Outputs = highest[:, 1] - highest[:, 0]
    return difference
