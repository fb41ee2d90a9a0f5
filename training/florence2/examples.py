"""Read labelled boxes (COCO JSON) or captions (csv) as examples in Florence-2's own answer format."""

from __future__ import annotations

import csv
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

from PIL import Image
from pydantic import BaseModel, ValidationError

from config.validation import first_problem
from core.errors import DataInvalid
from training.data.reading import coco

LOCATION_BINS = 1000
"""Width and height of an image are divided into this many positions each, `<loc_0>` to `<loc_999>`."""

CaptionTask = Literal["caption", "detailed_caption"]


@dataclass(frozen=True, slots=True)
class FineTuningExample:
    """One image, a task, and the answer that the model is to give."""

    path: Path
    task: Literal["detect", "caption", "detailed_caption"]
    answer: str


@dataclass(frozen=True, slots=True)
class LabelledBox:
    """A label and its box: left, top, right and bottom edge, relative to the image (0..1)."""

    label: str
    box: tuple[float, float, float, float]


def read_examples(
    source: Path, images: Path | None = None, captions: CaptionTask = "caption"
) -> list[FineTuningExample]:
    """Read a COCO JSON file, or a csv with the columns file and caption.

    Image paths are relative to `images`; None: to the source's folder. Images without a box are left out. Raises
    DataInvalid, which names file and place.
    """
    try:
        if source.suffix.lower() == ".csv":
            what, examples = "caption", list(_read_captions(source, images or source.parent, captions))
        else:
            what, examples = "box", list(_read_boxes(source, images))
    except UnicodeDecodeError as error:
        raise DataInvalid(f"{source} is not UTF-8: {error.reason} at byte {error.start}") from None
    except csv.Error as error:
        raise DataInvalid(f"{source} is not valid csv: {error}") from None
    if not examples:
        raise DataInvalid(f"{source} has nothing to learn from: no image with a {what}")
    if missing := [example.path for example in examples if not example.path.is_file()]:
        raise DataInvalid(
            f"{source}: {len(missing)} of {len(examples)} images do not exist, the first is {missing[0]}; "
            "name their folder with --images"
        )
    return examples


def format_answer(labelled: Iterable[LabelledBox]) -> str:
    """Return the answer in the model's format: each label once, followed by its boxes from left to right."""
    boxes: dict[str, list[tuple[int, ...]]] = defaultdict(list)
    for one in labelled:
        boxes[_clean_text(one.label)].append(
            tuple(min(LOCATION_BINS - 1, max(0, int(edge * LOCATION_BINS))) for edge in one.box)
        )
    return "".join(
        label + "".join(f"<loc_{place}>" for box in sorted(found) for place in box) for label, found in boxes.items()
    )


def _clean_text(text: str) -> str:
    """Remove `<` and `>`, which would start a special token, and repeated spaces."""
    return " ".join(text.replace("<", " ").replace(">", " ").split())


def _read_captions(source: Path, images: Path, task: CaptionTask) -> Iterator[FineTuningExample]:
    with source.open(encoding="utf-8-sig", newline="") as file:
        rows = csv.DictReader(file)
        if not {"file", "caption"} <= set(rows.fieldnames or ()):
            raise DataInvalid(f"{source}:1: the first line must name the columns file and caption")
        for row in rows:
            name, caption = row["file"], _clean_text(row["caption"] or "")
            if not name or not caption:
                raise DataInvalid(f"{source}:{rows.line_num}: the file or the caption is empty; each line needs both")
            yield FineTuningExample(images / name, task, caption)


# --- COCO JSON, including Tagfleet's own export of it ------------------------------------------


class _Annotation(coco.Annotation):
    """`relative_bbox` is x, y, width, height (0..1). A tag of the `whole_image` has no box."""

    relative_bbox: tuple[float, float, float, float] | None = None
    whole_image: bool = False


_Part = TypeVar("_Part", bound=BaseModel)


def _read_boxes(source: Path, images: Path | None) -> Iterator[FineTuningExample]:
    try:
        content = json.loads(source.read_bytes())
    except ValueError as error:
        raise DataInvalid(f"{source} is not valid JSON: {error}") from None
    raw = coco.check_lists(content, source)
    listed = list(_parse_entries(coco.Image, source, raw, "images"))
    names = {category.id: category.name for category in _parse_entries(coco.Category, source, raw, "categories")}
    of_image: dict[int | str, list[_Annotation]] = defaultdict(list)
    for number, annotation in enumerate(_parse_entries(_Annotation, source, raw, "annotations")):
        if annotation.category_id not in names:
            raise DataInvalid(f"{source}, annotations[{number}]: there is no category {annotation.category_id}")
        of_image[annotation.image_id].append(annotation)
    folder = images or _find_folder(source, listed)
    for image in listed:
        things = [
            LabelledBox(names[annotation.category_id], box)
            for annotation in of_image[image.id]
            if (box := _clip_box(annotation, image, folder))
        ]
        if things:
            yield FineTuningExample(folder / image.file_name, "detect", format_answer(things))


def _parse_entries(kind: type[_Part], source: Path, raw: dict[str, list[Any]], name: str) -> Iterator[_Part]:
    for number, one in enumerate(raw[name]):
        try:
            yield kind.model_validate(one)
        except ValidationError as error:
            raise DataInvalid(f"{source}, {name}[{number}]: {first_problem(error)}") from None


def _find_folder(source: Path, listed: list[coco.Image]) -> Path:
    """Return the folder `images` beside the JSON file if the first image is in it, else the file's own folder."""
    beside = source.parent / "images"
    return beside if listed and (beside / listed[0].file_name).is_file() else source.parent


def _clip_box(annotation: _Annotation, image: coco.Image, folder: Path) -> tuple[float, float, float, float] | None:
    """Return the box's edges clipped to the image; None if there is no box, or none of its area is in the image."""
    if annotation.whole_image:
        return None
    if annotation.relative_bbox is not None:
        x, y, width, height = annotation.relative_bbox
    elif annotation.bbox is not None:
        across, down = _read_size(image, folder)
        x, y, width, height = (
            side / whole for side, whole in zip(annotation.bbox, (across, down, across, down), strict=True)
        )
    else:
        return None
    left, top, right, bottom = (min(max(edge, 0.0), 1.0) for edge in (x, y, x + width, y + height))
    return (left, top, right, bottom) if left < right and top < bottom else None


def _read_size(image: coco.Image, folder: Path) -> tuple[int, int]:
    if image.width and image.height:
        return image.width, image.height
    try:
        with Image.open(folder / image.file_name) as opened:
            return opened.size
    except OSError as error:
        raise DataInvalid(f"the size of {folder / image.file_name} cannot be read: {error}") from None
