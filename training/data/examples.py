"""The data of a training: images, the labels of each, and which of them must stay in one part."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Example:
    """One image. `labels` are positions in the dataset's `labels`; empty where the image shows none of them."""

    path: Path
    labels: frozenset[int]
    group: str
    """Examples of one group always stay in one part of a split."""


@dataclass(frozen=True)
class Dataset:
    """Labelled images of one source, or of one part of its split."""

    name: str
    labels: tuple[str, ...]
    examples: tuple[Example, ...]
    root: Path = Path()
    """The folder that contains all examples."""

    def relative_name(self, example: Example) -> str:
        """Return the example's name in this dataset, which is the same on every machine."""
        return example.path.relative_to(self.root).as_posix()

    @cached_property
    def fingerprint(self) -> str:
        """Hex SHA-256 of the labels and of which image has which, regardless of folder, order, groups and pixels."""
        digest = hashlib.sha256("\0".join(self.labels).encode())
        for name, labels in sorted((self.relative_name(one), sorted(one.labels)) for one in self.examples):
            digest.update(f"\n{name}\0{','.join(map(str, labels))}".encode())
        return digest.hexdigest()

    def counts(self) -> tuple[int, ...]:
        """The number of examples of each label."""
        found = [0] * len(self.labels)
        for example in self.examples:
            for label in example.labels:
                found[label] += 1
        return tuple(found)


class TrainingSet(Dataset):
    """The training part of a split: the only examples that a network learns from and that are ever augmented."""
