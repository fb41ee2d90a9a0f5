"""Read COCO's instances json: images, and annotations with categories and boxes."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, Field, ValidationError

from config.validation import first_problem
from core.errors import DataInvalid
from training.data.examples import Dataset, Example
from training.data.reading.findings import Finding, Reading, find_image_folder

_Part = TypeVar("_Part", bound=BaseModel)
_SLACK_PX = 1.0
"""Published boxes are rounded and may exceed the image by less than this."""


class Image(BaseModel):
    """An entry of the list `images`; width and height are in pixels."""

    id: int | str
    file_name: Annotated[str, Field(min_length=1)]
    width: int | None = None
    height: int | None = None


class Annotation(BaseModel):
    """An entry of the list `annotations`; `bbox` is x, y, width, height in pixels."""

    image_id: int | str
    category_id: int | str
    bbox: tuple[float, float, float, float] | None = None


class Category(BaseModel):
    """An entry of the list `categories`."""

    id: int | str
    name: Annotated[str, Field(min_length=1)]


def read(index: Path, folder: Path | None) -> Reading:
    """Read the json. An image without annotations shows none of the categories. Raises DataInvalid."""
    raw = _load(index)
    findings: list[Finding] = []
    categories = _Categories(index, raw, findings)
    images = [
        image
        for number, one in enumerate(raw["images"])
        if (image := _parse(Image, index, f"images[{number}]", one, findings))
    ]
    first = images[0].file_name if images else ""
    files = find_image_folder(index, folder, first, *_list_candidates(index))
    labels, boxed = _read_annotations(index, raw["annotations"], images, categories, findings)
    examples: dict[Path, Example] = {}
    sizes = {}
    for image in images:
        where = f"{index}, image {image.id}"
        path = files.find(image.file_name)
        if path is None:
            text = f"{image.file_name!r} is not in {files.folder}"
            findings.append(Finding("error", "missing image", where, text))
        elif path in examples:
            findings.append(Finding("error", "damaged entry", where, f"{image.file_name!r} occurs twice"))
        else:
            examples[path] = Example(path, frozenset(labels[image.id]), image.file_name)
            if image.width and image.height:
                sizes[path] = (image.width, image.height)
                findings += _find_boxes_outside(where, image, boxed[image.id])
    dataset = Dataset(index.stem, categories.names, tuple(examples.values()), files.folder)
    return Reading(dataset, (*findings, *files.orphans()), sizes)


def _load(index: Path) -> dict[str, list[Any]]:
    try:
        raw = json.loads(index.read_bytes())
    except json.JSONDecodeError as error:
        raise DataInvalid(f"{index}:{error.lineno}: not valid JSON: {error.msg} at column {error.colno}") from None
    return check_lists(raw, index)


def check_lists(raw: Any, index: Path) -> dict[str, list[Any]]:
    """Load the json with its three lists. Raises DataInvalid if it lacks one."""
    for name in ("images", "categories", "annotations"):
        if not isinstance(raw, dict) or not isinstance(raw.get(name), list):
            raise DataInvalid(f"{index} is not COCO JSON: it has no list {name!r}")
    checked: dict[str, list[Any]] = raw
    return checked


def _list_candidates(index: Path) -> Iterator[Path]:
    """Folders where the images may be: beside the json, or as in COCO, `annotations/instances_X.json` and `X/`."""
    yield index.parent / "images"
    yield index.parent
    stem = index.stem.removeprefix("instances_")
    yield index.parent.parent / stem
    yield index.parent.parent / "images" / stem
    yield index.parent.parent / "images"


class _Categories:
    """The labels, in the order of the file, and their positions by category id."""

    def __init__(self, index: Path, raw: dict[str, list[Any]], findings: list[Finding]) -> None:
        self._positions: dict[int | str, int] = {}
        names: dict[str, int] = {}
        for number, one in enumerate(raw["categories"]):
            where = f"categories[{number}]"
            category = _parse(Category, index, where, one, findings)
            if category is None:
                continue
            if category.id in self._positions or category.name in names:
                text = f"category {category.id} {category.name!r} occurs twice"
                findings.append(Finding("error", "damaged entry", f"{index}, {where}", text))
            self._positions[category.id] = names.setdefault(category.name, len(names))
        self.names = tuple(names)

    def position(self, id: int | str) -> int | None:
        """Return the position of the category's label; None if there is no such category."""
        return self._positions.get(id)


def _read_annotations(
    index: Path, raw: list[Any], images: list[Image], categories: _Categories, findings: list[Finding]
) -> tuple[dict[int | str, set[int]], dict[int | str, list[tuple[int, tuple[float, ...]]]]]:
    """Labels by image id; boxes by image id, each with its annotation's number."""
    known = {image.id for image in images}
    labels: dict[int | str, set[int]] = defaultdict(set)
    boxes: dict[int | str, list[tuple[int, tuple[float, ...]]]] = defaultdict(list)
    for number, one in enumerate(raw):
        annotation = _parse(Annotation, index, f"annotations[{number}]", one, findings)
        if annotation is None:
            continue
        where = f"{index}, annotations[{number}]"
        position = categories.position(annotation.category_id)
        if position is None:
            text = f"category {annotation.category_id} is not among its {len(categories.names)} categories"
            findings.append(Finding("error", "label out of range", where, text))
        if annotation.image_id not in known:
            text = f"image {annotation.image_id} is not among its images"
            findings.append(Finding("error", "missing image", where, text))
        elif position is not None:
            labels[annotation.image_id].add(position)
            if annotation.bbox:
                boxes[annotation.image_id].append((number, annotation.bbox))
    return labels, boxes


def _find_boxes_outside(where: str, image: Image, boxes: list[tuple[int, tuple[float, ...]]]) -> Iterator[Finding]:
    for number, (x, y, width, height) in boxes:
        right, bottom = (image.width or 0) + _SLACK_PX, (image.height or 0) + _SLACK_PX
        inside = x >= -_SLACK_PX and y >= -_SLACK_PX and x + width <= right and y + height <= bottom
        if not (inside and width > 0 and height > 0):
            box = f"{x:g}, {y:g}, {width:g} × {height:g}"
            text = f"the box of annotations[{number}], {box}, is not inside {image.width} × {image.height}"
            yield Finding("warning", "box outside", where, text)


def _parse(kind: type[_Part], index: Path, where: str, raw: Any, findings: list[Finding]) -> _Part | None:
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        findings.append(Finding("error", "damaged entry", f"{index}, {where}", first_problem(error)))
        return None
