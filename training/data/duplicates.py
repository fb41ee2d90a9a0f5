"""Find copies of an image within a dataset: the same bytes, or nearly the same picture, mirrored or not.

Near means at most `DISTANCE` of 64 bits apart. Every such pair is found without comparing all with all. The hash is
cut into 8 bands of 8 bits: two hashes that differ in at most 7 bits have at least one equal band, so only images that
share a band are compared.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from training.data.examples import Dataset
from training.data.fingerprints import Fingerprint, Fingerprints

BANDS = 8
DISTANCE = BANDS - 1
"""With a larger distance the bands could miss a pair."""
_AT_ONCE = 1 << 16
"""Comparisons in one batch. Larger batches would repeat comparisons among frames of one film."""

Hashes = NDArray[np.uint64]
Positions = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Copies:
    """Two copies of one image. `distance` is in bits; None where the files are identical."""

    first: Path
    second: Path
    distance: int | None
    mirrored: bool = False

    def __str__(self) -> str:
        if self.distance is None:
            return "the same file"
        return f"{self.distance} of 64 bits apart" + (", mirrored" if self.mirrored else "")


def find_copies(prints: Fingerprints) -> list[Copies]:
    """Return pairs that connect all copies of each image: n − 1 pairs for n copies.

    Two images that are both near a third one are connected by it, however far apart they are themselves.
    """
    found: list[Copies] = []
    same_file: dict[str, Path] = {}
    same_hash: dict[int, tuple[Path, Fingerprint]] = {}
    for path, one in prints.items():
        if not isinstance(one, Fingerprint):
            continue
        if (first := same_file.setdefault(one.sha256, path)) is not path:
            found.append(Copies(first, path, None))
        elif (alike := same_hash.setdefault(one.perceptual, (path, one))[0]) is not path:
            found.append(Copies(alike, path, 0))
    paths = [path for path, _ in same_hash.values()]
    hashes = np.array([one.perceptual for _, one in same_hash.values()], np.uint64)
    mirrors = np.array([one.mirrored for _, one in same_hash.values()], np.uint64)
    union = _UnionFind(len(paths))
    for mirrored, left in ((False, hashes), (True, mirrors)):
        for here, there, apart in _find_near(left, hashes, union):
            found.append(Copies(paths[min(here, there)], paths[max(here, there)], apart, mirrored))
    return found


def group_copies(dataset: Dataset, found: Iterable[Copies]) -> Dataset:
    """Return the dataset with copies in one group, together with everything that shared a group with one of them."""
    numbers: dict[str, int] = {}
    for example in dataset.examples:
        numbers.setdefault(example.group, len(numbers))
    of_path = {example.path: numbers[example.group] for example in dataset.examples}
    union = _UnionFind(len(numbers))
    for pair in found:
        union.join(of_path[pair.first], of_path[pair.second])
    names = list(numbers)
    examples = tuple(replace(example, group=names[union.root(of_path[example.path])]) for example in dataset.examples)
    return replace(dataset, examples=examples)


class _UnionFind:
    """A union-find of n items."""

    def __init__(self, size: int) -> None:
        self._parents = list(range(size))

    def root(self, one: int) -> int:
        """Return the lowest item that is connected to `one`."""
        while self._parents[one] != one:
            self._parents[one] = self._parents[self._parents[one]]
            one = self._parents[one]
        return one

    def join(self, one: int, other: int) -> bool:
        """Connect two items; return whether they were not connected before. The root of a tree is its lowest number."""
        low, high = sorted((self.root(one), self.root(other)))
        self._parents[high] = low
        return low != high

    def roots(self) -> Positions:
        """Return the root of each item, (n,)."""
        return np.array([self.root(one) for one in range(len(self._parents))], np.intp)


def _find_near(left: Hashes, right: Hashes, union: _UnionFind) -> Iterator[tuple[int, int, int]]:
    """Yield near pairs of `left` and `right`, with their distance, that `union` had not connected yet."""
    for band in range(BANDS):
        shift, byte = np.uint64(8 * band), np.uint64(255)
        roots = union.roots()
        for some, others in _pair_by_value((left >> shift) & byte, (right >> shift) & byte):
            rows = max(1, _AT_ONCE // len(others))
            for start in range(0, len(some), rows):
                block = some[start : start + rows]
                apart = np.bitwise_count(left[block, None] ^ right[others])
                pairs = np.argwhere((apart <= DISTANCE) & (roots[block, None] != roots[others]))
                nearest_first = np.argsort(apart[tuple(pairs.T)], kind="stable")
                for row, column in pairs[nearest_first]:
                    one, other = int(block[row]), int(others[column])
                    if union.join(one, other):
                        yield one, other, int(apart[row, column])
                if len(pairs):
                    touched = np.union1d(block, others)
                    roots[touched] = [union.root(int(one)) for one in touched]


def _pair_by_value(left: Hashes, right: Hashes) -> Iterator[tuple[Positions, Positions]]:
    """Yield, for each value that occurs in both, its positions in each."""
    by_left, by_right = np.argsort(left, kind="stable"), np.argsort(right, kind="stable")
    values = np.intersect1d(left, right)
    for some, others in zip(_slice_runs(left[by_left], values), _slice_runs(right[by_right], values), strict=True):
        yield by_left[some], by_right[others]


def _slice_runs(ordered: Hashes, values: Hashes) -> Iterator[slice]:
    starts, ends = np.searchsorted(ordered, values), np.searchsorted(ordered, values, side="right")
    return map(slice, starts, ends)
