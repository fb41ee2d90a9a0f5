"""Sufficient statistics of features, per tag, in whole numbers: they are added, merged and subtracted exactly.

Features are rounded to whole multiples of 1/UNIT before anything is summed. Sums of whole numbers have no rounding, so
updates in any order and any merging of them give the same statistics to the last bit, and what was added is subtracted
without a trace. In floating point, (a + b) − b is not always a.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from core.domain.tag_names import tag_key

UNIT = 512
"""Steps in one unit of a feature. int64 holds the squares of 2³³ examples."""

Features = npt.NDArray[np.int16]
"""(d,) or (N, d): features in steps of 1/UNIT."""
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_LARGEST = np.iinfo(np.int16).max


def features(outputs: npt.NDArray[np.floating]) -> Features:
    """(N, d) outputs of a backbone as features: square roots, scaled to a mean square of 1 over each image.

    The root makes what comes out of a ReLU more nearly Gaussian (Tukey's ladder of powers; Yang, Liu, Xu, "Free Lunch
    for Few-shot Learning: Distribution Calibration", ICLR 2021, eq. 3); the scale takes an image's contrast out.
    """
    finite = np.nan_to_num(outputs.astype(np.float64), posinf=0.0, neginf=0.0)
    roots = np.sign(finite) * np.sqrt(np.abs(finite))
    scale = np.sqrt(np.mean(roots**2, axis=-1, keepdims=True))
    unit = np.divide(roots, scale, out=np.zeros_like(roots), where=scale > 0)
    found: Features = np.clip(np.rint(unit * UNIT), -_LARGEST, _LARGEST).astype(np.int16)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Of `n` examples: Σx in steps and Σx² in squared steps, (d,) each."""

    n: int
    total: Counts
    squares: Counts

    @classmethod
    def none(cls, dimensions: int) -> Self:
        return cls(0, np.zeros(dimensions, np.int64), np.zeros(dimensions, np.int64))

    @classmethod
    def of(cls, found: Features) -> Self:
        """Of one image, (d,), or of several, (N, d)."""
        wide = np.atleast_2d(found).astype(np.int64)
        return cls(len(wide), wide.sum(axis=0), (wide * wide).sum(axis=0))

    def __add__(self, other: Sums) -> Sums:
        return Sums(self.n + other.n, self.total + other.total, self.squares + other.squares)

    def __sub__(self, other: Sums) -> Sums:
        return Sums(self.n - other.n, self.total - other.total, self.squares - other.squares)

    def __eq__(self, other: object) -> bool:
        return (
            isinstance(other, Sums)
            and self.n == other.n
            and np.array_equal(self.total, other.total)
            and np.array_equal(self.squares, other.squares)
        )

    def mean(self) -> Floats:
        """(d,), in units; only where there are examples."""
        return self.total / (self.n * UNIT)

    def scatter(self) -> Floats:
        """Σ(x − mean)², (d,), in squared units; only where there are examples."""
        return (self.squares - self.total.astype(np.float64) ** 2 / self.n) / UNIT**2


@dataclass(frozen=True, slots=True)
class TagSums:
    """Of one tag: images that have it and images of which somebody said that they have not. `name` is its spelling."""

    name: str
    accepted: Sums
    rejected: Sums


@dataclass(frozen=True, slots=True)
class Statistics:
    """What was learned. `tags` by the key that all spellings of a tag share; `seen` are photos of no known tag.

    `seen` says what photos look like in general: without it a tagger that knows one tag would find it everywhere.
    """

    dimensions: int
    seen: Sums
    tags: Mapping[str, TagSums] = field(default_factory=dict)

    @classmethod
    def none(cls, dimensions: int) -> Self:
        return cls(dimensions, Sums.none(dimensions))

    def add(self, name: str, found: Features, *, wanted: bool) -> Statistics:
        """With one more image that has the tag, or has it not (`wanted` False)."""
        before = self._of(name)
        if wanted:
            return self._with(replace(before, accepted=before.accepted + Sums.of(found)))
        return self._with(replace(before, rejected=before.rejected + Sums.of(found)))

    def subtract(self, name: str, found: Features, *, wanted: bool) -> Statistics:
        """As if `add` of the same had never been; a tag of which nothing is left is gone."""
        before = self._of(name)
        if wanted:
            return self._with(replace(before, accepted=before.accepted - Sums.of(found)))
        return self._with(replace(before, rejected=before.rejected - Sums.of(found)))

    def with_seen(self, sums: Sums) -> Statistics:
        return replace(self, seen=self.seen + sums)

    def __add__(self, other: Statistics) -> Statistics:
        """Both together; what several hosts learned apart."""
        merged = dict(self.tags)
        for key, theirs in other.tags.items():
            ours = merged.get(key)
            merged[key] = theirs if ours is None else _both(ours, theirs)
        return replace(self, seen=self.seen + other.seen, tags=merged)

    def _of(self, name: str) -> TagSums:
        """Of several spellings the one that sorts first stays, whichever came first."""
        empty = Sums.none(self.dimensions)
        found = self.tags.get(tag_key(name), TagSums(name, empty, empty))
        return replace(found, name=min(found.name, name))

    def _with(self, tag: TagSums) -> Statistics:
        tags = {**self.tags, tag_key(tag.name): tag}
        if not (tag.accepted.n or tag.rejected.n):
            del tags[tag_key(tag.name)]
        return replace(self, tags=tags)


def _both(one: TagSums, other: TagSums) -> TagSums:
    return TagSums(min(one.name, other.name), one.accepted + other.accepted, one.rejected + other.rejected)
