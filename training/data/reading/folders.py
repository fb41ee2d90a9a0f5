"""Read a folder with one sub-folder of images for each class."""

from __future__ import annotations

from pathlib import Path

from core.errors import DataInvalid
from core.imaging.extensions import IMAGE_EXTENSIONS
from training.data.examples import Dataset, Example
from training.data.reading.findings import Finding, Images, Reading


def read(root: Path, folder: Path | None) -> Reading:
    """Name each class after its folder; images further down count too. Raises DataInvalid without sub-folders."""
    if folder is not None:
        raise DataInvalid(f"{root} has a folder for each class, so the images lie in it: --images is for other sources")
    classes = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not classes:
        raise DataInvalid(f"{root} holds neither a json or csv that says what is on its images, nor folders of classes")
    files = Images(root)
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
                    Finding("warning", "orphan image", str(path), "it does not end like an image, so it is left out")
                )
    return Reading(Dataset(root.resolve().name, tuple(classes), tuple(examples), root), (*findings, *files.orphans()))
