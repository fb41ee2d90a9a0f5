"""Read labelled images from any of the four layouts that people use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from core.errors import DataInvalid
from training.data.examples import Dataset
from training.data.reading import coco, exports, folders, tables
from training.data.reading.findings import Finding, Reading, check_labels

_SPLITS = "splits.json"
"""Files that may be beside the images and say nothing about their content."""
_ANNOTATIONS = "annotations"
"""The folder with the json in COCO's own layout."""
_INDEXES = {".json": "COCO JSON", ".jsonl": "a Tagfleet export", ".csv": "csv"}


def read(source: Path, images: Path | None = None) -> Dataset:
    """Read the dataset at `source`; `images` is the folder of its images, if not beside it.

    Raises DataInvalid with the file and line of the first error; `inspect` finds all of them.
    """
    found = inspect(source, images)
    errors = found.errors
    if errors:
        more = f" ({len(errors) - 1} more: `tagfleet data check {source}` lists them)" if errors[1:] else ""
        raise DataInvalid(f"{errors[0]}{more}")
    return found.dataset


def inspect(source: Path, images: Path | None = None) -> Reading:
    """Read what is readable in `source`, with everything that is wrong with it.

    The source is COCO's json, a csv, a Tagfleet export (json lines or csv), a folder that contains one of these, or a
    folder with one folder for each class. Raises DataInvalid if it is none of them or cannot be opened.
    """
    if images is not None and not images.is_dir():
        raise DataInvalid(f"{images} is not a folder; name the folder of the images")
    index = _find_index(source)
    try:
        found = _choose_reader(index)(index, images)
    except OSError as error:
        raise DataInvalid(f"{error.filename or index}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DataInvalid(f"{index} is not UTF-8: {error.reason} at byte {error.start}") from None
    return found.with_findings(check_labels(found.dataset, index))


def _find_index(source: Path) -> Path:
    """Return the file with the labels; the folder itself where its sub-folders are the labels."""
    if not source.exists():
        raise DataInvalid(f"{source} does not exist; name a file or folder of labelled images")
    if source.is_file():
        return source
    files = sorted(
        path
        for path in source.iterdir()
        if path.suffix.lower() in _INDEXES and not path.name.startswith(".") and path.name != _SPLITS
    )
    if len(files) > 1:
        names = ", ".join(path.name for path in files)
        raise DataInvalid(f"{source} has several files that may contain the labels: name one of {names}")
    if not files and (below := sorted((source / _ANNOTATIONS).glob("*.json"))):
        names = ", ".join(map(str, below))
        raise DataInvalid(f"{source} has files with labels instead of a folder for each class: name one of {names}")
    return files[0] if files else source


def _choose_reader(index: Path) -> Callable[[Path, Path | None], Reading]:
    if index.is_dir():
        return folders.read
    ending = index.suffix.lower()
    if ending == ".json":
        return coco.read
    if ending == ".jsonl":
        return exports.read_json_lines
    if ending == ".csv":
        return exports.read_csv if exports.is_export(index) else tables.read
    raise DataInvalid(f"{index} is neither a folder nor a file that ends in {', '.join(_INDEXES)}")


__all__ = ["Finding", "Reading", "inspect", "read"]
