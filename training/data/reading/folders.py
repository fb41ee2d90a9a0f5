"""Read a folder with one sub-folder of images for each class."""

from __future__ import annotations

from pathlib import Path

from core.errors import DataInvalid
from core.imaging.extensions import IMAGE_EXTENSIONS
from training.data.examples import Dataset, Example
from training.data.reading.findings import Finding, ImageFolder, Reading


def read(root: Path, folder: Path | None) -> Reading:
    """Name each class after its folder; images further down count too. Raises DataInvalid without sub-folders."""
    if folder is not None:
        raise DataInvalid(f"{root} has a folder of images for each class: leave out --images")
    classes = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise DataInvalid(f"{root} has neither a json, jsonl or csv file with labels nor a folder for each class")
    files = ImageFolder(root)
    examples = []
    findings = []
    for position, name in enumerate(classes):
        for file in files.under(name):
            path = root / file
            if path.suffix.lower() in IMAGE_EXTENSIONS:
                files.find(file)
                examples.append(Example(path, frozenset((position,)), file))
            else:
                findings.append(
                    Finding("warning", "orphan image", str(path), "not an image by its extension, so it is left out")
                )
    return Reading(Dataset(root.resolve().name, tuple(classes), tuple(examples), root), (*findings, *files.orphans()))
