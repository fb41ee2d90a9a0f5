"""The result of every reader: the dataset and its findings. Also: the images in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

from core.domain.tag_names import tag_key
from core.errors import DataInvalid
from core.imaging.extensions import IMAGE_EXTENSIONS
from core.util.file_names import same_name
from training.data.examples import Dataset

Kind = Literal[
    "missing image",
    "orphan image",
    "unreadable image",
    "damaged entry",
    "label out of range",
    "box outside",
    "other size",
    "other content",
    "empty class",
    "class absent from a part",
    "no labels",
    "labels alike",
    "one class",
    "duplicate",
    "near duplicate",
    "leak",
    "imbalance",
]


@dataclass(frozen=True, slots=True)
class Finding:
    """One problem. An error prevents training on the data; a warning does not."""

    level: Literal["error", "warning"]
    kind: Kind
    where: str
    """File, and line or entry."""
    text: str

    def __str__(self) -> str:
        return f"{self.where}: {self.text}"


@dataclass(frozen=True, slots=True)
class Reading:
    """A dataset as a reader found it, with everything that is wrong with it."""

    dataset: Dataset
    findings: tuple[Finding, ...] = ()
    sizes: Mapping[Path, tuple[int, int]] = field(default_factory=dict)
    """Width and height (pixels) that the source gives for an image."""
    hashes: Mapping[Path, str] = field(default_factory=dict)
    """Hex SHA-256 that the source gives for an image."""

    @property
    def errors(self) -> list[Finding]:
        """The findings that prevent training."""
        return [finding for finding in self.findings if finding.level == "error"]

    def with_findings(self, more: Iterable[Finding]) -> Reading:
        """Return a copy with more findings."""
        return replace(self, findings=(*self.findings, *more))


def check_labels(dataset: Dataset, source: Path) -> Iterator[Finding]:
    """Check the labels as a whole."""
    where = str(source)
    if not dataset.examples:
        yield Finding("error", "no labels", where, "it has no labelled image")
        return
    spelled: dict[str, str] = {}
    for name in dataset.labels:
        if (first := spelled.setdefault(tag_key(name), name)) is not name:
            text = f"{first!r} and {name!r} are the same tag to Tagfleet: spell them alike"
            yield Finding("error", "labels alike", where, text)
    counts = dataset.counts()
    used = [label for label, count in enumerate(counts) if count]
    if not used:
        yield Finding("error", "no labels", where, "none of its images has a label")
    elif len(used) == 1:
        name = dataset.labels[used[0]]
        if counts[used[0]] == len(dataset.examples):
            text = f"every image has only the label {name!r}: add images without it, to learn the difference"
            yield Finding("error", "one class", where, text)
        else:
            yield Finding("warning", "one class", where, f"{name!r} is the only label that any image has")
    for label, count in enumerate(counts):
        if used and not count:
            name = dataset.labels[label]
            yield Finding("warning", "empty class", where, f"no image has the label {name!r}: it cannot be learned")


class ImageFolder:
    """The files of a folder, listed once and found by the names in a source."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._there = set(_list_files(folder))
        self._forms = {same_name(name): name for name in self._there}
        self._named: set[str] = set()

    def find(self, name: str) -> Path | None:
        """Return the image of this name (`/` between folders), or None. Names that lead out match nothing.

        An accented letter may be one character here and two in the folder (NFC and NFD): it is the same name.
        """
        parts = PurePosixPath(name.replace("\\", "/"))
        key = parts.as_posix()
        if key not in self._there:
            key = self._forms.get(same_name(key), "")
        if parts.is_absolute() or ".." in parts.parts or not key:
            return None
        self._named.add(key)
        return self.folder / key

    def under(self, folder: str) -> list[str]:
        """Return the names in a sub-folder and below, in order."""
        return sorted(name for name in self._there if name.startswith(f"{folder}/"))

    def orphans(self) -> Iterator[Finding]:
        """Return the images that no source named."""
        for name in sorted(self._there - self._named):
            if Path(name).suffix.lower() in IMAGE_EXTENSIONS:
                where = str(self.folder / name)
                yield Finding("warning", "orphan image", where, "it has no entry, so it is left out")


def find_image_folder(index: Path, given: Path | None, first: str, *candidates: Path) -> ImageFolder:
    """Return the folder with the image `first`: `given`, else the first candidate that has it.

    Raises DataInvalid if none has it.
    """
    if given is not None:
        return ImageFolder(given)
    if not first:
        return ImageFolder(index.parent)
    for folder in candidates:
        if (folder / first).is_file():
            return ImageFolder(folder)
    for folder in candidates:
        if folder != index.parent and folder.is_dir():
            return ImageFolder(folder)
    tried = ", ".join(map(str, candidates))
    raise DataInvalid(f"{index}: its first image {first!r} is in none of {tried}; name the folder with --images")


def _list_files(folder: Path) -> Iterator[str]:
    """Yield the files below the folder as `a/b.jpg`, without hidden ones. Links are followed, but never in a circle."""
    seen: set[Path] = set()
    for at, folders, files in os.walk(folder, followlinks=True):
        real = Path(at).resolve()
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        prefix = Path(at).relative_to(folder).as_posix()
        for name in files:
            if not name.startswith("."):
                yield name if prefix == "." else f"{prefix}/{name}"
