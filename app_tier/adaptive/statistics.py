"""Sufficient statistics of features, per tag, in whole numbers.

Features are rounded to whole multiples of 1/UNIT before they are summed. Sums of whole numbers do not round. So
updates and merges in any order give the same statistics to the last bit, and subtracting undoes adding exactly. In
floating point, (a + b) − b is not always a.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import numpy.typing as npt

from core.domain.tag_names import tag_key

UNIT = 512
"""Steps in one unit of a feature. int64 can hold the summed squares of 2³³ examples."""

Features = npt.NDArray[np.int16]
"""(d,) or (N, d): features in steps of 1/UNIT."""
Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]

_LARGEST = np.iinfo(np.int16).max


def to_features(outputs: npt.NDArray[np.floating]) -> Features:
    """Turn (N, d) outputs of a backbone into features: square roots, scaled to a mean square of 1 over each image.

    The root makes the outputs of a ReLU more nearly Gaussian (Tukey's ladder of powers; Yang, Liu, Xu, "Free Lunch for
    Few-shot Learning: Distribution Calibration", ICLR 2021, eq. 3). The scale removes an image's contrast.
    """
    finite = np.nan_to_num(outputs.astype(np.float64), posinf=0.0, neginf=0.0)
    roots = np.sign(finite) * np.sqrt(np.abs(finite))
    scale = np.sqrt(np.mean(roots**2, axis=-1, keepdims=True))
    unit = np.divide(roots, scale, out=np.zeros_like(roots), where=scale > 0)
    found: Features = np.clip(np.rint(unit * UNIT), -_LARGEST, _LARGEST).astype(np.int16)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Sums:
    """Sums over `n` examples: Σx in steps and Σx² in squared steps, (d,) each."""

    n: int
    total: Counts
    squares: Counts

    @classmethod
    def empty(cls, dimensions: int) -> Self:
        """Return the sums of no examples."""
        return cls(0, np.zeros(dimensions, np.int64), np.zeros(dimensions, np.int64))

    @classmethod
    def of(cls, found: Features) -> Self:
        """Return the sums of one image, (d,), or of several, (N, d)."""
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
        """Return the mean, (d,), in units. Needs at least one example."""
        return self.total / (self.n * UNIT)

    def scatter(self) -> Floats:
        """Return Σ(x − mean)², (d,), in squared units. Needs at least one example."""
        return (self.squares - self.total.astype(np.float64) ** 2 / self.n) / UNIT**2


@dataclass(frozen=True, slots=True)
class TagSums:
    """Sums for one tag: over the images on which people accepted it, and over the images on which they rejected it.

    `name` is the tag's spelling.
    """

    name: str
    accepted: Sums
    rejected: Sums


@dataclass(frozen=True, slots=True)
class Statistics:
    """The sums for all tags, by the key that all spellings of a tag share, and for `seen`: photos without feedback.

    `seen` shows what photos look like in general. Without it, a tagger that knows one tag would find it everywhere.
    """

    dimensions: int
    seen: Sums
    tags: Mapping[str, TagSums] = field(default_factory=dict)

    @classmethod
    def empty(cls, dimensions: int) -> Self:
        """Return statistics over no image."""
        return cls(dimensions, Sums.empty(dimensions))

    def add(self, name: str, found: Features, *, wanted: bool) -> Statistics:
        """Return the statistics with one more image, on which the tag is `wanted`, or rejected."""
        before = self._of(name)
        if wanted:
            return self._with(replace(before, accepted=before.accepted + Sums.of(found)))
        return self._with(replace(before, rejected=before.rejected + Sums.of(found)))

    def subtract(self, name: str, found: Features, *, wanted: bool) -> Statistics:
        """Undo `add` of the same arguments. A tag without images is removed."""
        before = self._of(name)
        if wanted:
            return self._with(replace(before, accepted=before.accepted - Sums.of(found)))
        return self._with(replace(before, rejected=before.rejected - Sums.of(found)))

    def with_seen(self, sums: Sums) -> Statistics:
        """Return the statistics with the sums of more photos without feedback."""
        return replace(self, seen=self.seen + sums)

    def __add__(self, other: Statistics) -> Statistics:
        """Merge statistics that were learned separately."""
        merged = dict(self.tags)
        for key, theirs in other.tags.items():
            ours = merged.get(key)
            merged[key] = theirs if ours is None else _merge(ours, theirs)
        return replace(self, seen=self.seen + other.seen, tags=merged)

    def _of(self, name: str) -> TagSums:
        """Return the tag's sums, named by the spelling that sorts first, in whatever order the spellings came."""
        empty = Sums.empty(self.dimensions)
        found = self.tags.get(tag_key(name), TagSums(name, empty, empty))
        return replace(found, name=min(found.name, name))

    def _with(self, tag: TagSums) -> Statistics:
        tags = {**self.tags, tag_key(tag.name): tag}
        if not (tag.accepted.n or tag.rejected.n):
            del tags[tag_key(tag.name)]
        return replace(self, tags=tags)


def _merge(one: TagSums, other: TagSums) -> TagSums:
    return TagSums(min(one.name, other.name), one.accepted + other.accepted, one.rejected + other.rejected)
