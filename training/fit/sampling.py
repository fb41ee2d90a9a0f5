"""Which examples an epoch goes through, in what order: a function of seed and epoch, so that runs can be resumed."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from training.data.examples import Example
from training.fit.metrics import Floats
from training.fit.options import SamplerName

RARE = 0.1
"""Labels on a smaller share of the photos than this are oversampled."""

Order = npt.NDArray[np.int64]


class Sampler:
    """Orders for all epochs over the same examples. All epochs are equally long.

    plain: each example once. weighted: as many draws as there are examples, with replacement, an example's chance that
    of its labels' mean rarity. oversample: each example at least once, those of rare labels more often (repeat factors,
    Gupta et al. 2019, "LVIS", section 4.4: √(t / share of the label), the highest of an example's labels).
    """

    def __init__(self, name: SamplerName, examples: Sequence[Example], classes: int, seed: int) -> None:
        self._name = name
        self._seed = seed
        self._weights = _weights(name, examples, classes)
        self.length = len(examples) if name != "oversample" else math.ceil(self._weights.sum() - 1e-9)

    def order(self, epoch: int) -> Order:
        """Positions of examples, `length` of them."""
        random = np.random.default_rng((self._seed, epoch))
        if self._name == "weighted":
            return random.choice(len(self._weights), self.length, p=self._weights)
        if self._name == "plain":
            return random.permutation(self.length)
        # One draw at each whole number beyond a random start: every example ⌊r⌋ or ⌈r⌉ times, r on average. The
        # factors are stretched to a whole number of draws.
        ends = np.cumsum(self._weights) * (self.length / self._weights.sum())
        draws = np.searchsorted(ends, np.arange(self.length) + random.random(), side="right")
        return random.permutation(np.minimum(draws, len(ends) - 1))


def compute_repeat_factors(examples: Sequence[Example], classes: int, rare: float = RARE) -> Floats:
    """How often each example comes in an epoch that oversamples, on average; 1 at least."""
    shares = _counts(examples, classes) / max(len(examples), 1)
    factors = np.sqrt(np.divide(rare, shares, out=np.ones(classes), where=shares > 0))
    return np.array([max([1.0, *(float(factors[label]) for label in each.labels)]) for each in examples], float)


def compute_rarities(examples: Sequence[Example], classes: int) -> Floats:
    """The mean of 1 / count over each example's labels; one without labels weighs as the most common example does."""
    counts = _counts(examples, classes)
    found = [float(np.mean([1 / counts[label] for label in each.labels])) if each.labels else None for each in examples]
    least = min((value for value in found if value is not None), default=1.0)
    return np.array([least if value is None else value for value in found], float)


def _weights(name: SamplerName, examples: Sequence[Example], classes: int) -> Floats:
    if name == "weighted":
        weights = compute_rarities(examples, classes)
        chances: Floats = weights / weights.sum()
        return chances
    return compute_repeat_factors(examples, classes) if name == "oversample" else np.ones(len(examples))


def _counts(examples: Sequence[Example], classes: int) -> Floats:
    counts = np.zeros(classes)
    for example in examples:
        for label in example.labels:
            counts[label] += 1
    return counts
