"""What training is about: images, what is on each, and which of them must never part."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Example:
    """One image. `labels` are positions in the dataset's `labels`; none at all is an image that shows none of them."""

    path: Path
    labels: frozenset[int]
    group: str
    """Examples of one group never part between splits; unlike groups may."""


@dataclass(frozen=True)
class Dataset:
    name: str
    labels: tuple[str, ...]
    examples: tuple[Example, ...]
    root: Path = Path()
    """The folder that the paths of the examples begin with."""

    def relative(self, example: Example) -> str:
        """The example's name in this dataset, the same on every machine."""
        return example.path.relative_to(self.root).as_posix()

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of the labels and of which image has which; neither folder, order, group nor pixels count."""
        digest = hashlib.sha256("\0".join(self.labels).encode())
        for name, labels in sorted((self.relative(one), sorted(one.labels)) for one in self.examples):
            digest.update(f"\n{name}\0{','.join(map(str, labels))}".encode())
        return digest.hexdigest()

    def counts(self) -> tuple[int, ...]:
        """How many examples each label has."""
        found = [0] * len(self.labels)
        for example in self.examples:
            for label in example.labels:
                found[label] += 1
        return tuple(found)


class TrainingSet(Dataset):
    """Examples that a network may learn from, and the only ones that are ever augmented; `splits` makes these."""
