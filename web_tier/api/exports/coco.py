"""Write results as COCO JSON: images, an annotation for each tag or box, and the categories they name.

COCO counts in pixels, but boxes in results are relative to the picture, so its size is read from the result or the
original. Every annotation has the fields that pycocotools reads: `area`, `bbox`, `iscrowd`, and a rectangle as
`segmentation`.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator
from typing import Any

from web_tier.api.exports.sizes import OpenSizes, Size, SizesOf, only_told
from web_tier.api.exports.source import Source
from web_tier.catalog.batches import Image
from web_tier.catalog.edits import tag_key
from web_tier.http.responses import encode_json

_GROUP = 500
_DIGITS = 2
"""Decimals of a pixel."""


def as_coco(source: Source, open_sizes: OpenSizes = only_told) -> Iterator[bytes]:
    """Yield the document, with images and categories numbered from 1. `score` is left out if no model gave one.

    The box of a tag without boxes is the whole picture. A picture of unknown size is 0 × 0, and so are its boxes;
    `relative_bbox` has their x, y, width and height from 0 to 1.
    """
    categories = _Categories()
    kept = _KeptSizes()
    yield (
        b'{"info":' + encode_json({"description": f"Tagfleet, batch {source.batch_id}"}) + b',"licenses":[],"images":['
    )
    with open_sizes() as sizes_of:
        yield from _join(_images(source, kept, sizes_of))
    yield b'],"annotations":['
    yield from _join(_numbered(source, kept, categories))
    yield b'],"categories":['
    yield from _join(categories)
    yield b"]}\n"


class _KeptSizes:
    """The sizes of the images written so far, by their position in the batch, in eight bytes each."""

    def __init__(self) -> None:
        self._kept = array("I")

    @property
    def last(self) -> int:
        """The position of the last image written."""
        return len(self._kept) // 2 - 1

    def keep(self, position: int, size: Size) -> None:
        self._kept.extend((0, 0) * (position - self.last - 1))
        self._kept.extend(size)

    def at(self, position: int) -> Size:
        return self._kept[2 * position], self._kept[2 * position + 1]


def _images(source: Source, kept: _KeptSizes, sizes_of: SizesOf) -> Iterator[dict[str, Any]]:
    for page in source.pages():
        for image, (width, height) in zip(page, sizes_of(page), strict=True):
            kept.keep(image.position, (width, height))
            of_picture = {"id": image.position, "file_name": image.name, "width": width, "height": height}
            yield of_picture | {"tagfleet_id": image.id}


def _numbered(source: Source, kept: _KeptSizes, categories: _Categories) -> Iterator[dict[str, Any]]:
    number = 0
    for image in source.images(until=kept.last):  # images uploaded in between are in neither list
        for annotation in _annotations(image, kept.at(image.position), categories):
            number += 1
            yield {"id": number} | annotation


class _Categories:
    """The tags seen so far, numbered in the order of their first appearance."""

    def __init__(self) -> None:
        self._seen: dict[str, dict[str, Any]] = {}

    def number(self, name: str) -> int:
        """Return the number of a tag; a new one gets the next."""
        category = self._seen.setdefault(
            tag_key(name), {"id": len(self._seen) + 1, "name": name, "supercategory": "tag"}
        )
        return int(category["id"])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._seen.values())


def _annotations(image: Image, size: Size, categories: _Categories) -> Iterator[dict[str, Any]]:
    for tag in image.tags:
        one = {"image_id": image.position, "category_id": categories.number(tag["name"]), "source": tag["source"]}
        for box in tag["instances"]:
            yield one | _score(box["confidence"]) | {"relative_bbox": box["box"]} | _in_pixels(box["box"], size)
        if not tag["instances"]:
            yield one | _score(tag["confidence"]) | {"whole_image": True} | _in_pixels((0, 0, 1, 1), size)


def _in_pixels(box: Iterable[float], size: Size) -> dict[str, Any]:
    """Return the pixels of a box from 0 to 1, clipped to a picture of this size."""
    x, y, wide, high = box
    left, right = (_pixel(edge, size[0]) for edge in (x, x + wide))
    top, bottom = (_pixel(edge, size[1]) for edge in (y, y + high))
    width, height = round(right - left, _DIGITS), round(bottom - top, _DIGITS)
    return {
        "bbox": [left, top, width, height],
        "area": round(width * height, 2 * _DIGITS),
        "segmentation": [[left, top, right, top, right, bottom, left, bottom]],
        "iscrowd": 0,
    }


def _pixel(share: float, side: int) -> float:
    return round(min(max(share, 0.0), 1.0) * side, _DIGITS)


def _score(confidence: float | None) -> dict[str, float]:
    return {} if confidence is None else {"score": confidence}


def _join(objects: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """Yield JSON with commas between the objects, in pieces of several objects."""
    group: list[bytes] = []
    for number, value in enumerate(objects):
        group.append((b"," if number else b"") + encode_json(value))
        if len(group) == _GROUP:
            yield b"".join(group)
            group = []
    yield b"".join(group)
