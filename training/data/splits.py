"""Split a dataset into training, validation and test parts that share no group.

Groups are assigned by iterative stratification (Sechidis, Tsoumakas and Vlahavas, "On the Stratification of
Multi-Label Data", ECML PKDD 2011), with whole groups in place of examples. The label with the fewest remaining examples
goes first, and each group that has it goes to the part that lacks this label most.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from config.validation import first_problem
from core.errors import DataInvalid
from training.data import files
from training.data.examples import Dataset, Example, TrainingSet

Shares = tuple[float, float, float]
"""Of training, validation and test; only their proportions count."""
SHARES: Shares = (0.8, 0.1, 0.1)
NAMES = ("train", "validation", "test")


@dataclass(frozen=True, slots=True)
class Splits:
    """The three parts of a dataset; no group is in more than one."""

    train: TrainingSet
    validation: Dataset
    test: Dataset

    @property
    def parts(self) -> dict[str, Dataset]:
        """The parts by name."""
        return {"train": self.train, "validation": self.validation, "test": self.test}


class SplitFile(BaseModel):
    """The content of a file of splits: images by their names in the dataset."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    dataset: str
    fingerprint: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


def split(dataset: Dataset, shares: Shares = SHARES, seed: int = 0) -> Splits:
    """Assign the groups so that each label comes as close to the shares as whole groups allow; a seed fixes the parts.

    `duplicates.group_copies` puts copies of an image into one group. Each part keeps the dataset's order of examples.
    Raises DataInvalid for invalid shares, and for fewer groups than parts.
    """
    groups: dict[str, list[Example]] = defaultdict(list)
    for example in dataset.examples:
        groups[example.group].append(example)
    wanted = _normalise_shares(shares)
    if len(groups) < sum(share > 0 for share in wanted):
        raise DataInvalid(
            f"{dataset.name}: {len(dataset.examples)} images in {len(groups)} groups cannot be split in "
            f"{sum(share > 0 for share in wanted)}: copies of an image, and images of one group, stay together"
        )
    part_of = _Deal(groups, wanted, seed).deal()
    return _build_splits(dataset, {example.path: part_of[example.group] for example in dataset.examples})


def save(splits: Splits, path: Path, dataset: Dataset) -> None:
    """Write the image names of each part, and the dataset's fingerprint. Raises TrainingStopped."""
    kept = SplitFile(
        dataset=dataset.name,
        fingerprint=dataset.fingerprint,
        **{name: tuple(map(dataset.relative_name, part.examples)) for name, part in splits.parts.items()},
    )
    files.make_folder(path.parent)
    files.write(path, kept.model_dump_json(indent=1).encode() + b"\n")


def load(path: Path, dataset: Dataset) -> Splits:
    """Read what `save` wrote. Raises DataInvalid for a split of other data, or if it lacks or repeats an image."""
    kept = read(path)
    if kept.fingerprint != dataset.fingerprint:
        raise DataInvalid(
            f"{path} splits other data: it was made for {kept.dataset!r}, but {dataset.name!r} has other images or "
            "labels; make a new one with `tagfleet data split`"
        )
    paths = {dataset.relative_name(example): example.path for example in dataset.examples}
    named = [(name, part) for part, names in enumerate((kept.train, kept.validation, kept.test)) for name in names]
    counts = Counter(name for name, _ in named)
    if wrong := [name for name in counts if counts[name] > 1]:
        raise DataInvalid(f"{path}: {wrong[0]} is in it {counts[wrong[0]]} times; keep one of them")
    if wrong := sorted(paths.keys() ^ counts.keys()):
        where = "in none of its parts" if wrong[0] in paths else "not in the dataset"
        raise DataInvalid(f"{path}: {wrong[0]} is {where}; make a new split with `tagfleet data split`")
    return _build_splits(dataset, {paths[name]: part for name, part in named})


def read(path: Path) -> SplitFile:
    """Read the file without its dataset. Raises DataInvalid."""
    try:
        return SplitFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise DataInvalid(f"{path}: {error.strerror}") from None
    except ValidationError as error:
        raise DataInvalid(f"{path} is not a file of `tagfleet data split`: {first_problem(error)}") from None


def _normalise_shares(shares: Sequence[float]) -> list[float]:
    total = sum(shares)
    if len(shares) != len(NAMES) or min(shares) < 0 or not 0 < total < float("inf"):
        raise DataInvalid(
            f"the shares of training, validation and test must be three numbers, none negative and not all 0: {shares}"
        )
    return [share / total for share in shares]


def _build_splits(dataset: Dataset, part_of: dict[Path, int]) -> Splits:
    train, validation, test = (
        tuple(example for example in dataset.examples if part_of[example.path] == part) for part in range(3)
    )
    return Splits(
        TrainingSet(dataset.name, dataset.labels, train, dataset.root),
        Dataset(dataset.name, dataset.labels, validation, dataset.root),
        Dataset(dataset.name, dataset.labels, test, dataset.root),
    )


class _Deal:
    """Groups that are being assigned to parts."""

    def __init__(self, groups: dict[str, list[Example]], shares: Sequence[float], seed: int) -> None:
        self._random = random.Random(seed)  # noqa: S311  # no secret: the same seed shall give the same parts
        self._sizes = {name: len(examples) for name, examples in groups.items()}
        self._labels = {name: Counter(label for one in some for label in one.labels) for name, some in groups.items()}
        total = sum(self._sizes.values())
        self._room = [share * total for share in shares]
        counts = sum(self._labels.values(), Counter[int]())
        self._wants = {label: [share * count for share in shares] for label, count in counts.items()}
        self._open = [part for part, share in enumerate(shares) if share > 0]
        self._part_of: dict[str, int] = {}

    def deal(self) -> dict[str, int]:
        """Return the part of each group."""
        left = self._shuffled(self._sizes)
        with_label: dict[int, list[str]] = defaultdict(list)
        for name in left:
            for label in self._labels[name]:
                with_label[label].append(name)
        remaining = {label: sum(self._labels[name][label] for name in names) for label, names in with_label.items()}
        while remaining:
            rarest = min(remaining, key=lambda label: (remaining[label], label))
            # Large groups first: small ones then even out what they did.
            for name in sorted(with_label[rarest], key=lambda name: -self._labels[name][rarest]):
                if name in self._part_of:
                    continue
                self._give(name, rarest)
                for label, count in self._labels[name].items():
                    if label in remaining:
                        remaining[label] -= count
            del remaining[rarest]
        for name in sorted((name for name in left if name not in self._part_of), key=lambda name: -self._sizes[name]):
            self._give(name, None)
        self._fill_empty()
        return self._part_of

    def _shuffled(self, names: Iterable[str]) -> list[str]:
        found = sorted(names)
        self._random.shuffle(found)
        return found

    def _give(self, name: str, label: int | None) -> None:
        """Assign to the part that lacks `label` most, then to the one that lacks images most, then by chance."""

        def lack(part: int) -> tuple[float, float, float]:
            wanted = self._wants[label][part] if label is not None else 0.0
            return wanted, self._room[part], self._random.random()

        self._move(name, max(self._open, key=lack), 1)

    def _move(self, name: str, part: int, sign: int) -> None:
        self._part_of[name] = part
        self._room[part] -= sign * self._sizes[name]
        for label, count in self._labels[name].items():
            self._wants[label][part] -= sign * count

    def _fill_empty(self) -> None:
        """Fill each empty part with the smallest group of the fullest one."""
        for part in self._open:
            if part in self._part_of.values():
                continue
            groups = Counter(self._part_of.values())
            fullest = max(groups, key=lambda one: (groups[one], -one))
            name = min(
                (name for name in self._part_of if self._part_of[name] == fullest), key=lambda n: (self._sizes[n], n)
            )
            self._move(name, fullest, -1)
            self._move(name, part, 1)
