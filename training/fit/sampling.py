"""Choose the examples of an epoch and their order, as a function of seed and epoch, so that runs can resume."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from training.data.examples import Example
from training.fit.metrics import Floats
from training.fit.options import SamplerName

RARE = 0.1
"""Labels on a smaller share of the photos (0..1) than this are oversampled."""

Order = npt.NDArray[np.int64]


class Sampler:
    """Orders the examples for each epoch. All epochs have `length` positions.

    - plain: each example once.
    - weighted: as many draws as examples, with replacement; an example's probability is its labels' mean rarity.
    - oversample: each example at least once, and examples with rare labels more often, by repeat factors (Gupta et al.
      2019, "LVIS", section 4.4): √(t / share of the label), the highest among the example's labels.
    """

    def __init__(self, name: SamplerName, examples: Sequence[Example], classes: int, seed: int) -> None:
        self._name = name
        self._seed = seed
        self._weights = _compute_weights(name, examples, classes)
        self.length = len(examples) if name != "oversample" else math.ceil(self._weights.sum() - 1e-9)

    def order(self, epoch: int) -> Order:
        """Return the positions of the epoch's examples, (`length`,)."""
        random = np.random.default_rng((self._seed, epoch))
        if self._name == "weighted":
            return random.choice(len(self._weights), self.length, p=self._weights)
        if self._name == "plain":
            return random.permutation(self.length)
        # Systematic sampling: one draw per unit beyond a random start, so an example with factor r comes ⌊r⌋ or ⌈r⌉
        # times, and r times on average. The factors are scaled to a whole number of draws.
        ends = np.cumsum(self._weights) * (self.length / self._weights.sum())
        draws = np.searchsorted(ends, np.arange(self.length) + random.random(), side="right")
        return random.permutation(np.minimum(draws, len(ends) - 1))


def compute_repeat_factors(examples: Sequence[Example], classes: int, rare: float = RARE) -> Floats:
    """Return how often each example occurs in an oversampled epoch on average, at least 1."""
    shares = _count_labels(examples, classes) / max(len(examples), 1)
    factors = np.sqrt(np.divide(rare, shares, out=np.ones(classes), where=shares > 0))
    return np.array([max([1.0, *(float(factors[label]) for label in each.labels)]) for each in examples], float)


def compute_rarities(examples: Sequence[Example], classes: int) -> Floats:
    """Return the mean of 1 / count over each example's labels. An example without labels gets the lowest value."""
    counts = _count_labels(examples, classes)
    found = [float(np.mean([1 / counts[label] for label in each.labels])) if each.labels else None for each in examples]
    least = min((value for value in found if value is not None), default=1.0)
    return np.array([least if value is None else value for value in found], float)


def _compute_weights(name: SamplerName, examples: Sequence[Example], classes: int) -> Floats:
    if name == "weighted":
        weights = compute_rarities(examples, classes)
        chances: Floats = weights / weights.sum()
        return chances
    return compute_repeat_factors(examples, classes) if name == "oversample" else np.ones(len(examples))


def _count_labels(examples: Sequence[Example], classes: int) -> Floats:
    counts = np.zeros(classes)
    for example in examples:
        for label in example.labels:
            counts[label] += 1
    return counts
