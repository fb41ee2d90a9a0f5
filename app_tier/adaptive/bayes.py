"""Gaussian naive Bayes over the sums of `statistics`, calibrated: how sure one can be of each tag, and of none.

Every tag is a Gaussian with a variance of its own in each dimension, drawn toward what all tags share the more, the
fewer examples it has. These are the conjugate normal-inverse-χ² updates of K. Murphy, "Conjugate Bayesian analysis of
the Gaussian distribution" (2007), section 5, with the Gaussian of the same variance in place of the predictive t:

    κₙ = κ₀ + n      μₙ = (κ₀ μ₀ + n x̄) / κₙ      νₙ = ν₀ + n
    σ²ₙ = (ν₀ σ₀² + S + (n κ₀ / κₙ) (μ₀ − x̄)²) / νₙ      x ~ N(μₙ, σ²ₙ (1 + 1/κₙ))

x̄ and S are the tag's mean and scatter, μ₀ the mean of all photos, σ₀² the variance within tags, pooled over them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from app_tier.adaptive.statistics import UNIT, Features, Floats, Statistics, Sums

PULL_MEAN = 2.0
"""κ₀, in examples: how strongly a tag's mean is drawn toward that of all photos."""
PULL_VARIANCE = 40.0
"""ν₀, in examples: how strongly its variance is drawn toward the pooled one."""
_PULL_POOLED = 10.0
"""In examples: how strongly the pooled variance is drawn toward that of all photos, while tags have few examples."""
_FLOOR = 1e-3
"""Added to every variance: a dimension that never varied says nothing for certain."""

_DIMENSIONS_A_TEMPERATURE = 20.0
"""The temperature before anything calibrates it: as if of so many dimensions each had one to say of its own."""
_TRUST = 4.0
"""How many held-out examples outweigh that first temperature when it is off by a factor of e."""
_STEPS = 60


@dataclass(frozen=True, slots=True)
class Gaussian:
    """(d,) each, in units."""

    mean: Floats
    variance: Floats

    def log_density(self, x: Floats) -> Floats:
        """Without the constant that all share: (N,) of (N, d)."""
        found: Floats = -0.5 * (((x - self.mean) ** 2 / self.variance).sum(axis=-1) + np.log(self.variance).sum())
        return found


@dataclass(frozen=True, slots=True)
class Prior:
    """What is known of any tag before its first example: (d,) each."""

    mean: Floats
    variance: Floats

    def updated(self, sums: Sums) -> Gaussian:
        """By the formula at the top of this file."""
        if not sums.n:
            return Gaussian(self.mean, self.variance * (1 + 1 / PULL_MEAN))
        mean, kappa = sums.mean(), PULL_MEAN + sums.n
        apart = (sums.n * PULL_MEAN / kappa) * (self.mean - mean) ** 2
        variance = (PULL_VARIANCE * self.variance + sums.scatter() + apart) / (PULL_VARIANCE + sums.n)
        centre = (PULL_MEAN * self.mean + sums.n * mean) / kappa
        return Gaussian(centre, (variance + _FLOOR) * (1 + 1 / kappa))


@dataclass(frozen=True, slots=True)
class Example:
    """One image that has the tag of this key, held out in turn to calibrate by."""

    key: str
    features: Features


class Model:
    """What `statistics` say of features. `temperature` is fitted to `examples`, each judged as if it were unknown."""

    def __init__(self, statistics: Statistics, examples: Sequence[Example] = ()) -> None:
        accepted = {key: tag for key, tag in sorted(statistics.tags.items()) if tag.accepted.n}
        self._index = {key: number for number, key in enumerate(accepted)}
        self.names: tuple[str, ...] = tuple(tag.name for tag in accepted.values())
        self.temperature = statistics.dimensions / _DIMENSIONS_A_TEMPERATURE
        if not accepted:
            return
        self._sums = [tag.accepted for tag in accepted.values()]
        everything = sum(self._sums, statistics.seen)
        self._prior, self._any = _common(everything, self._sums)
        self._tags = _Gaussians.of([self._prior.updated(sums) for sums in self._sums])
        judged = [(self._index[key], tag) for key, tag in accepted.items() if tag.rejected.n]
        self._judged = np.array([number for number, _ in judged], dtype=np.intp)
        self._denied = _Gaussians.of([self._prior.updated(tag.rejected) for _, tag in judged]) if judged else None
        self._odds = np.array([np.log(tag.accepted.n + 1) - np.log(tag.rejected.n + 1) for _, tag in judged])
        self.temperature = self._calibrated([one for one in examples if one.key in accepted])

    def probabilities(self, found: Features) -> Floats:
        """(N, tags + 1) for (N, d) features: each row sums to 1, its last is that of no known tag at all."""
        if not self.names:
            return np.ones((len(found), 1))
        return self._softmax(self._evidence(found / UNIT), self.temperature)

    def _evidence(self, x: Floats) -> _Evidence:
        denied = None if self._denied is None else self._denied.log_density(x)
        return _Evidence(self._tags.log_density(x), self._any.log_density(x), denied)

    def _softmax(self, evidence: _Evidence, temperature: float) -> Floats:
        """Every tag, and none, is as likely as any other at first: how often people correct one says nothing of that.

        Where people rejected a tag, it counts by the odds that they would have let it stand here: those of a second
        naive Bayes, between the images on which they accepted it and those on which they did not.
        """
        scores = np.column_stack([evidence.tags, evidence.any]) / temperature
        if evidence.denied is not None:
            stands = (evidence.tags[:, self._judged] - evidence.denied) / temperature + self._odds
            scores[:, self._judged] -= np.logaddexp(0.0, -stands)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares: Floats = powers / powers.sum(axis=1, keepdims=True)
        return shares

    def _calibrated(self, examples: Sequence[Example]) -> float:
        """The temperature under which what was held out is least surprising (Guo et al., "On Calibration of Modern
        Neural Networks", ICML 2017, section 4.2), drawn toward the first one while few examples were.

        Hundreds of features that say the same thing are counted as often: without it every posterior is 0 or 1.
        """
        known = [one for one in examples if self._sums[self._index[one.key]].n > 1]
        if not known:
            return self.temperature
        x = np.stack([one.features for one in known]) / UNIT
        own = np.array([self._index[one.key] for one in known], dtype=np.intp)
        evidence = self._evidence(x)
        rows = np.arange(len(known))
        for row, one in enumerate(known):  # the sums without an example are at hand: it only has to be subtracted
            others = self._sums[own[row]] - Sums.of(one.features)
            evidence.tags[row, own[row]] = self._prior.updated(others).log_density(x[row])

        def cost(temperature: float) -> float:
            right = self._softmax(evidence, temperature)[rows, own]
            pull = _TRUST * float(np.log(temperature / self.temperature)) ** 2
            return pull - float(np.log(np.maximum(right, 1e-12)).sum())

        steps = np.geomspace(1.0, 4.0 * x.shape[1], _STEPS)
        return float(min(steps, key=cost))


@dataclass(frozen=True, slots=True)
class _Evidence:
    """Log densities: of each tag (N, tags), of any photo (N,), and (N, judged) of what was rejected as one of those."""

    tags: Floats
    any: Floats
    denied: Floats | None


@dataclass(frozen=True, slots=True)
class _Gaussians:
    """Many at once: Σ(x−μ)²/σ² as products of matrices. (K, d), (K, d), (K,)"""

    precision: Floats
    weighted: Floats
    constant: Floats

    @classmethod
    def of(cls, gaussians: Sequence[Gaussian]) -> Self:
        mean = np.stack([one.mean for one in gaussians])
        variance = np.stack([one.variance for one in gaussians])
        constant = (mean**2 / variance + np.log(variance)).sum(axis=1)
        return cls(1 / variance, mean / variance, constant)

    def log_density(self, x: Floats) -> Floats:
        """(N, K)"""
        found: Floats = -0.5 * (x**2 @ self.precision.T - 2 * x @ self.weighted.T + self.constant)
        return found


def _common(everything: Sums, tags: Sequence[Sums]) -> tuple[Prior, Gaussian]:
    """What all tags share, and any photo's Gaussian: that of everything that was seen or taught."""
    mean = everything.mean()
    spread = everything.scatter() / everything.n + _FLOOR
    freedom = sum(sums.n - 1 for sums in tags)
    within = sum((sums.scatter() for sums in tags), np.zeros_like(mean))
    pooled = (within + _PULL_POOLED * spread) / (freedom + _PULL_POOLED)
    return Prior(mean, pooled), Gaussian(mean, spread * (1 + 1 / everything.n))
