"""Check labelled images and their split for everything that can be known before training."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.errors import BadImage
from training.data import duplicates
from training.data.duplicates import Copies
from training.data.examples import Dataset
from training.data.fingerprints import Fingerprint, Fingerprints
from training.data.reading import Finding, Reading
from training.data.splits import Splits

_UNEVEN = 50
"""From this ratio between the images of two labels on, the rare one needs weighted sampling."""


@dataclass(frozen=True, slots=True)
class LabelCount:
    """The number of images with one label."""

    label: str
    images: int
    parts: tuple[int, ...]
    """By part, in the order of `Check.parts`; empty without a split."""


@dataclass(frozen=True, slots=True)
class Pair:
    """The names of two copies of one image, and their parts (empty without a split)."""

    first: str
    second: str
    how: str
    parts: tuple[str, str]

    @property
    def leaks(self) -> bool:
        """Whether the copies are in different parts."""
        return self.parts[0] != self.parts[1]


@dataclass(frozen=True, slots=True)
class Check:
    """The result of a check: the findings, and the statistics that the report shows."""

    dataset: Dataset
    findings: tuple[Finding, ...]
    labels: tuple[LabelCount, ...]
    """In the dataset's order."""
    per_image: tuple[int, ...]
    """Number of images with 0, 1, 2, … labels."""
    sizes: tuple[tuple[int, int], ...]
    """Width and height of each readable image (pixels)."""
    pairs: tuple[Pair, ...]
    parts: tuple[tuple[str, int], ...]
    """Name and images of each part; empty without a split."""

    @property
    def sound(self) -> bool:
        """Whether this split of these images is fit for training and evaluation."""
        return all(finding.level != "error" for finding in self.findings)

    @property
    def imbalance(self) -> float | None:
        """The ratio between the images of the most frequent and of the rarest label that occurs."""
        counts = [count.images for count in self.labels if count.images]
        return max(counts) / min(counts) if counts else None

    def figures(self) -> dict[str, Any]:
        """Everything except the single sizes, for programs."""
        return {
            "dataset": self.dataset.name,
            "fingerprint": self.dataset.fingerprint,
            "sound": self.sound,
            "images": len(self.dataset.examples),
            "labels": [{"label": one.label, "images": one.images, **self._split(one)} for one in self.labels],
            "labels_per_image": list(self.per_image),
            "imbalance": self.imbalance,
            "parts": dict(self.parts),
            "copies": [asdict(pair) | {"leaks": pair.leaks} for pair in self.pairs],
            "findings": [asdict(finding) for finding in self.findings],
        }

    def _split(self, count: LabelCount) -> dict[str, int]:
        return {name: number for (name, _), number in zip(self.parts, count.parts, strict=False)}


def check(reading: Reading, prints: Fingerprints, splits: Splits | None = None) -> Check:
    """Check a dataset whose images have fingerprints. `splits` must be a split of this dataset."""
    dataset = reading.dataset
    part_of = {one.path: name for name, part in splits.parts.items() for one in part.examples} if splits else {}
    pairs = duplicates.find_copies(prints)
    counts = [part.counts() for part in splits.parts.values()] if splits else []
    labels = tuple(
        LabelCount(label, images, tuple(part[number] for part in counts))
        for number, (label, images) in enumerate(zip(dataset.labels, dataset.counts(), strict=True))
    )
    several = Counter(len(example.labels) for example in dataset.examples)
    readable = {path: one for path, one in prints.items() if isinstance(one, Fingerprint)}
    return Check(
        dataset,
        (
            *reading.findings,
            *_find_unreadable(prints),
            *_find_changed(reading, readable),
            *_report_copies(dataset, pairs, part_of),
            *_find_divided_groups(dataset, part_of),
            *_find_imbalance(dataset, labels),
            *_find_absent_labels(dataset, splits),
        ),
        labels,
        tuple(several[number] for number in range(max(several, default=0) + 1)),
        tuple(one.size for one in readable.values()),
        tuple(_describe_pair(dataset, pair, part_of) for pair in pairs),
        tuple((name, len(part.examples)) for name, part in splits.parts.items()) if splits else (),
    )


def _find_unreadable(prints: Fingerprints) -> Iterator[Finding]:
    for path, one in prints.items():
        if isinstance(one, BadImage):
            yield Finding("error", "unreadable image", str(path), str(one))


def _find_changed(reading: Reading, readable: dict[Path, Fingerprint]) -> Iterator[Finding]:
    for path, one in readable.items():
        expected = reading.sizes.get(path)
        if expected is not None and expected not in (one.size, one.size[::-1]):
            text = f"it has {one.size[0]} × {one.size[1]} pixels, but its labels are for {expected[0]} × {expected[1]}"
            yield Finding("warning", "other size", str(path), text)
        if reading.hashes.get(path, one.sha256) != one.sha256:
            text = "its SHA-256 differs from that of the tagged file; check that its tags are still right"
            yield Finding("warning", "other content", str(path), text)


def _report_copies(dataset: Dataset, pairs: Sequence[Copies], part_of: dict[Path, str]) -> Iterator[Finding]:
    labels = {example.path: example.labels for example in dataset.examples}
    for pair in pairs:
        first, second = part_of.get(pair.first), part_of.get(pair.second)
        where = str(pair.second)
        if first != second:
            yield Finding("error", "leak", where, f"it is in {second}, and {pair.first} in {first}: {pair}")
            continue
        other = labels[pair.first] != labels[pair.second]
        text = f"a copy of {pair.first}: {pair}{', with other labels' if other else ''}"
        yield Finding("warning", "duplicate" if pair.distance is None else "near duplicate", where, text)


def _find_divided_groups(dataset: Dataset, part_of: dict[Path, str]) -> Iterator[Finding]:
    """Yield the source's groups that a split made elsewhere has divided."""
    groups: dict[str, dict[str, Path]] = defaultdict(dict)
    for example in dataset.examples:
        if example.path in part_of:
            groups[example.group].setdefault(part_of[example.path], example.path)
    for name, parts in groups.items():
        if len(parts) > 1:
            shown = ", ".join(f"{path} in {part}" for part, path in parts.items())
            yield Finding("error", "leak", name, f"images of one group are in several parts: {shown}; split again")


def _find_imbalance(dataset: Dataset, labels: Sequence[LabelCount]) -> Iterator[Finding]:
    there = sorted((count for count in labels if count.images), key=lambda count: count.images)
    if there and there[-1].images >= _UNEVEN * there[0].images:
        most, least = there[-1], there[0]
        text = (
            f"{most.label!r} is on {most.images} images, {least.label!r} on {least.images}: weighted sampling or "
            "oversampling helps the rare ones"
        )
        yield Finding("warning", "imbalance", dataset.name, text)


def _find_absent_labels(dataset: Dataset, splits: Splits | None) -> Iterator[Finding]:
    """Report, for each part, the labels that are on some image but on none of the part's."""
    if splits is None:
        return
    whole = dataset.counts()
    for name, part in splits.parts.items():
        lacking = [
            dataset.labels[label]
            for label, count in enumerate(part.counts())
            if part.examples and whole[label] and not count
        ]
        if lacking:
            shown = ", ".join(lacking[:5]) + (f" and {len(lacking) - 5} more" if lacking[5:] else "")
            text = f"{len(lacking)} labels have images, but none in {name}: {shown}"
            yield Finding("warning", "class absent from a part", dataset.name, text)


def _describe_pair(dataset: Dataset, pair: Copies, part_of: dict[Path, str]) -> Pair:
    first, second = (path.relative_to(dataset.root).as_posix() for path in (pair.first, pair.second))
    return Pair(first, second, str(pair), (part_of.get(pair.first, ""), part_of.get(pair.second, "")))
