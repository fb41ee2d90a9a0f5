"""Read Tagfleet's own exports, `tagfleet export --format jsonl` or `csv`: the images that people corrected.

An image that a person edited counts with all its present tags: those that the person added, and those of the model that
the person kept. The originals are not part of an export: they are in a folder, under the names of their uploads.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, ValidationError

from config.validation import first_problem
from core.domain.tag_names import tag_key
from core.errors import DataInvalid
from core.util.spreadsheets import unguarded
from training.data.examples import Dataset, Example
from training.data.reading.findings import Finding, Reading, find_image_folder

_COLUMNS = frozenset(("image_id", "name", "sha256", "tag", "source"))


class _Tag(BaseModel):
    name: Annotated[str, Field(min_length=1)]
    source: str


class _Item(BaseModel):
    image_id: str
    name: Annotated[str, Field(min_length=1)]
    sha256: str = ""
    tags: list[_Tag]
    edited: bool


@dataclass(slots=True)
class _Corrected:
    """One image that a person edited, or may have edited."""

    line: int
    name: str
    sha256: str
    edited: bool
    tags: list[str] = field(default_factory=list)


def is_export(index: Path) -> bool:
    """Return whether a csv has the columns of an export."""
    with index.open(encoding="utf-8-sig", newline="") as file:
        try:
            return set(next(csv.reader(file), ())) >= _COLUMNS
        except csv.Error:  # which the reader of any csv explains
            return False


def read_json_lines(index: Path, folder: Path | None) -> Reading:
    """Read one line for each image; `edited` marks those that a person edited. Raises DataInvalid if there are none."""
    findings: list[Finding] = []
    found = []
    with index.open(encoding="utf-8") as file:
        for line, text in enumerate(file, 1):
            if not text.strip():
                continue
            try:
                item = _Item.model_validate_json(text)
            except ValidationError as error:
                findings.append(Finding("error", "damaged entry", f"{index}:{line}", first_problem(error)))
                continue
            found.append(_Corrected(line, item.name, item.sha256, item.edited, [tag.name for tag in item.tags]))
    return _build_reading(index, folder, found, findings)


def read_csv(index: Path, folder: Path | None) -> Reading:
    """Read one row for each tag. An image counts as edited where a person added one of its tags. A csv does not show
    images from which a person only removed tags; json lines do. Raises DataInvalid if no image was edited.
    """
    found: dict[str, _Corrected] = {}
    with index.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            for row in reader:
                name, tag = unguarded(row["name"] or ""), unguarded(row["tag"] or "")
                one = found.setdefault(row["image_id"], _Corrected(reader.line_num, name, row["sha256"], edited=False))
                if tag:
                    one.tags.append(tag)
                one.edited |= row["source"] == "person"
        except csv.Error as error:
            raise DataInvalid(f"{index}:{reader.line_num + 1}: not valid csv: {error}") from None
    return _build_reading(index, folder, list(found.values()), [])


def _build_reading(index: Path, folder: Path | None, found: Iterable[_Corrected], findings: list[Finding]) -> Reading:
    found = list(found)
    touched = [one for one in found if one.edited]
    if not touched and not findings:
        raise DataInvalid(f"{index}: no person corrected any of its images, so there is nothing to learn from it")
    first = touched[0].name if touched else ""
    files = find_image_folder(index, folder, first, index.parent / "images", index.parent)
    labels: list[str] = []
    position: dict[str, int] = {}
    examples: dict[Path, Example] = {}
    hashes = {}
    for one in found:
        where = f"{index}:{one.line}"
        path = files.find(one.name)
        if not one.edited:
            continue
        if path is None:
            text = f"{one.name!r} is not in {files.folder}: an export has no images, so put the originals there"
            findings.append(Finding("error", "missing image", where, text))
        elif path in examples:
            text = f"{one.name!r} occurs twice: export the batches one by one, each with its own folder of images"
            findings.append(Finding("error", "damaged entry", where, text))
        else:
            examples[path] = Example(path, frozenset(_number_labels(one.tags, labels, position)), one.name)
            hashes[path] = one.sha256
    dataset = Dataset(index.stem, tuple(labels), tuple(examples.values()), files.folder)
    return Reading(dataset, (*findings, *files.orphans()), hashes={path: hash for path, hash in hashes.items() if hash})


def _number_labels(tags: Iterable[str], labels: list[str], position: dict[str, int]) -> Iterator[int]:
    """`Dog` and `dog` are one tag, with the spelling that comes first."""
    for tag in tags:
        key = tag_key(tag)
        if key not in position:
            position[key] = len(labels)
            labels.append(tag)
        yield position[key]
