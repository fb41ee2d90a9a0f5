"""Calibrated Gaussian naive Bayes over the sums of `statistics`: the probability of each tag, and of none of them.

Every tag is a Gaussian with its own variance in each dimension. The fewer examples a tag has, the more it is drawn
toward what all tags share. These are the conjugate normal-inverse-χ² updates of K. Murphy, "Conjugate Bayesian
analysis of the Gaussian distribution" (2007), section 5, with a Gaussian of the same variance instead of the
predictive t:

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
"""In examples: how strongly the pooled variance is drawn toward that of all photos while tags have few examples."""
_FLOOR = 1e-3
"""Added to every variance, so that a dimension that never varied does not count as certain."""

_DIMENSIONS_A_TEMPERATURE = 20.0
"""Sets the initial temperature: as if only one of this many dimensions were independent."""
_TRUST = 4.0
"""How many held-out examples outweigh the initial temperature when it is off by a factor of e."""
_STEPS = 60


@dataclass(frozen=True, slots=True)
class Gaussian:
    """Mean and variance of each dimension, (d,) each, in units."""

    mean: Floats
    variance: Floats

    def log_density(self, x: Floats) -> Floats:
        """Return the log density of (N, d) points as (N,), without the constant that all Gaussians share."""
        found: Floats = -0.5 * (((x - self.mean) ** 2 / self.variance).sum(axis=-1) + np.log(self.variance).sum())
        return found


@dataclass(frozen=True, slots=True)
class Prior:
    """The distribution assumed of any tag before its first example, (d,) each."""

    mean: Floats
    variance: Floats

    def updated(self, sums: Sums) -> Gaussian:
        """Return the posterior by the formulas at the top of this file."""
        if not sums.n:
            return Gaussian(self.mean, self.variance * (1 + 1 / PULL_MEAN))
        mean, kappa = sums.mean(), PULL_MEAN + sums.n
        apart = (sums.n * PULL_MEAN / kappa) * (self.mean - mean) ** 2
        variance = (PULL_VARIANCE * self.variance + sums.scatter() + apart) / (PULL_VARIANCE + sums.n)
        centre = (PULL_MEAN * self.mean + sums.n * mean) / kappa
        return Gaussian(centre, (variance + _FLOOR) * (1 + 1 / kappa))


@dataclass(frozen=True, slots=True)
class CalibrationExample:
    """The features of one image that has the tag of this key. Each is held out in turn for calibration."""

    key: str
    features: Features


class Model:
    """Classifies features. Its temperature is fitted to `examples`, each classified as if it had not been learned."""

    def __init__(self, statistics: Statistics, examples: Sequence[CalibrationExample] = ()) -> None:
        accepted = {key: tag for key, tag in sorted(statistics.tags.items()) if tag.accepted.n}
        self._index = {key: number for number, key in enumerate(accepted)}
        self.names: tuple[str, ...] = tuple(tag.name for tag in accepted.values())
        self.temperature = statistics.dimensions / _DIMENSIONS_A_TEMPERATURE
        if not accepted:
            return
        self._sums = [tag.accepted for tag in accepted.values()]
        everything = sum(self._sums, statistics.seen)
        self._prior, self._any = _fit_shared(everything, self._sums)
        self._tags = _Gaussians.of([self._prior.updated(sums) for sums in self._sums])
        judged = [(self._index[key], tag) for key, tag in accepted.items() if tag.rejected.n]
        self._judged = np.array([number for number, _ in judged], dtype=np.intp)
        self._denied = _Gaussians.of([self._prior.updated(tag.rejected) for _, tag in judged]) if judged else None
        self._odds = np.array([np.log(tag.accepted.n + 1) - np.log(tag.rejected.n + 1) for _, tag in judged])
        self.temperature = self._calibrate([one for one in examples if one.key in accepted])

    def probabilities(self, found: Features) -> Floats:
        """Return (N, tags + 1) probabilities for (N, d) features. A row sums to 1; its last is that of no known tag."""
        if not self.names:
            return np.ones((len(found), 1))
        return self._softmax(self._evidence(found / UNIT), self.temperature)

    def _evidence(self, x: Floats) -> _Evidence:
        denied = None if self._denied is None else self._denied.log_density(x)
        return _Evidence(self._tags.log_density(x), self._any.log_density(x), denied)

    def _softmax(self, evidence: _Evidence, temperature: float) -> Floats:
        """Turn the evidence into probabilities, with a uniform prior over the tags and "none".

        The number of corrections of a tag does not show its frequency, so the prior is uniform. A tag that people have
        rejected before is weighted by the odds that they would accept it here. A second naive Bayes gives these odds,
        between the images on which the tag was accepted and the images on which it was rejected.
        """
        scores = np.column_stack([evidence.tags, evidence.any]) / temperature
        if evidence.denied is not None:
            accepted = (evidence.tags[:, self._judged] - evidence.denied) / temperature + self._odds
            scores[:, self._judged] -= np.logaddexp(0.0, -accepted)
        powers = np.exp(scores - scores.max(axis=1, keepdims=True))
        shares: Floats = powers / powers.sum(axis=1, keepdims=True)
        return shares

    def _calibrate(self, examples: Sequence[CalibrationExample]) -> float:
        """Fit the temperature to the held-out examples (Guo et al., "On Calibration of Modern Neural Networks", ICML
        2017, section 4.2). With few examples the result stays near the initial temperature.

        Naive Bayes counts hundreds of correlated features as independent: without a temperature every posterior would
        be 0 or 1.
        """
        known = [one for one in examples if self._sums[self._index[one.key]].n > 1]
        if not known:
            return self.temperature
        x = np.stack([one.features for one in known]) / UNIT
        own = np.array([self._index[one.key] for one in known], dtype=np.intp)
        evidence = self._evidence(x)
        rows = np.arange(len(known))
        for row, one in enumerate(known):  # subtracting an example gives the sums without it
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
    """Log densities: of each tag (N, tags), of any photo (N,), and of the judged tags' rejected images (N, judged)."""

    tags: Floats
    any: Floats
    denied: Floats | None


@dataclass(frozen=True, slots=True)
class _Gaussians:
    """K Gaussians at once: Σ(x−μ)²/σ² as matrix products. Shapes (K, d), (K, d), (K,)."""

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
        """Return (N, K) log densities."""
        found: Floats = -0.5 * (x**2 @ self.precision.T - 2 * x @ self.weighted.T + self.constant)
        return found


def _fit_shared(everything: Sums, tags: Sequence[Sums]) -> tuple[Prior, Gaussian]:
    """Return the prior that all tags share, and the Gaussian of any photo: of everything seen or learned."""
    mean = everything.mean()
    spread = everything.scatter() / everything.n + _FLOOR
    freedom = sum(sums.n - 1 for sums in tags)
    within = sum((sums.scatter() for sums in tags), np.zeros_like(mean))
    pooled = (within + _PULL_POOLED * spread) / (freedom + _PULL_POOLED)
    return Prior(mean, pooled), Gaussian(mean, spread * (1 + 1 / everything.n))
