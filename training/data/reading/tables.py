"""Read a csv of images: `file,labels` with `;` between the labels, or `file` and a column of 0 and 1 for each label.

A column `group` names images that belong together: frames of one film, photos of one person.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path

from core.errors import DataInvalid
from training.data.examples import Dataset, Example
from training.data.reading.findings import Finding, Reading, find_image_folder

_TRUTH = {"1": True, "0": False, "": False}
_APART = ("file", "labels", "group")


def read(index: Path, folder: Path | None) -> Reading:
    """Read the csv; labels are in the order of columns, or by name. Raises DataInvalid without a column `file`."""
    columns, rows = _read_rows(index)
    findings: list[Finding] = []
    names = [column for column in columns if column not in _APART]
    if "labels" in columns and names:
        raise DataInvalid(f"{index}:1: with a column `labels`, remove the columns of labels, such as {names[0]!r}")
    if "labels" not in columns and not names:
        raise DataInvalid(f"{index}:1: add a column `labels`, or a column for each label")
    entries: list[tuple[int, str, list[str], str]] = []
    for line, row in rows:
        if None in row or None in row.values():
            text = f"the line needs {len(columns)} columns, like the first line"
            findings.append(Finding("error", "damaged entry", f"{index}:{line}", text))
            continue
        labels = (
            _split_labels(row) if "labels" in columns else list(_read_ticks(row, names, f"{index}:{line}", findings))
        )
        entries.append((line, row["file"].strip(), labels, (row.get("group") or "").strip()))
    ordered = names or sorted({label for _, _, labels, _ in entries for label in labels})
    first = entries[0][1] if entries else ""
    files = find_image_folder(index, folder, first, index.parent, index.parent / "images")
    position = {label: number for number, label in enumerate(ordered)}
    examples: dict[Path, Example] = {}
    for line, name, labels, group in entries:
        where = f"{index}:{line}"
        path = files.find(name)
        if path is None:
            findings.append(Finding("error", "missing image", where, f"{name!r} is not in {files.folder}"))
        elif path in examples:
            findings.append(Finding("error", "damaged entry", where, f"{name!r} has an earlier line"))
        else:
            own = f"group {group}" if group else name
            examples[path] = Example(path, frozenset(position[label] for label in labels), own)
    dataset = Dataset(index.stem, tuple(ordered), tuple(examples.values()), files.folder)
    return Reading(dataset, (*findings, *files.orphans()))


def _read_rows(index: Path) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """Return the columns, and the rows with the number of the line in which each ends."""
    with index.open(encoding="utf-8-sig", newline="") as file:
        reader = csv.DictReader(file, strict=True)
        try:
            columns = [column.strip() for column in reader.fieldnames or ()]
            reader.fieldnames = columns
            rows = [(reader.line_num, row) for row in reader]
        except csv.Error as error:
            raise DataInvalid(f"{index}:{reader.line_num + 1}: not valid csv: {error}") from None
    if "file" not in columns:
        raise DataInvalid(f"{index}:1: the column `file` is missing; the first line names the columns, `file,labels`")
    if len(set(columns)) != len(columns) or "" in columns:
        raise DataInvalid(f"{index}:1: each column needs a unique name")
    return columns, rows


def _split_labels(row: Mapping[str, str]) -> list[str]:
    return [label for part in row["labels"].split(";") if (label := part.strip())]


def _read_ticks(row: Mapping[str, str], names: list[str], where: str, findings: list[Finding]) -> Iterator[str]:
    for name in names:
        value = row[name].strip()
        if value not in _TRUTH:
            text = f"column {name!r} has {value!r}; use 0 or 1"
            findings.append(Finding("error", "label out of range", where, text))
        elif _TRUTH[value]:
            yield name
