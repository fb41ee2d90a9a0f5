"""Results as COCO JSON: images, one annotation for each tag or box, and the categories that they name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from web_tier.catalog import Image
from web_tier.exports.source import Source
from web_tier.present import encoded
from web_tier.verdicts import tag_key

_GROUP = 500


def as_coco(source: Source) -> Iterator[bytes]:
    """Images and categories are numbered from 1. `score` is left out where no model gave one.

    The sizes of images are not known here, so that a box stands under `relative_bbox`, as x, y, width and height from
    0 to 1: under `bbox` it would be taken for pixels.
    """
    categories = _Categories()
    last = 0

    def images() -> Iterator[dict[str, Any]]:
        nonlocal last
        for image in source.images():
            last = image.position
            yield {"id": image.position, "file_name": image.name, "tagfleet_id": image.id}

    def annotations() -> Iterator[dict[str, Any]]:
        number = 0
        for image in source.images(until=last):  # what was uploaded in between is in neither list
            for annotation in _annotations(image, categories):
                number += 1
                yield {"id": number} | annotation

    yield b'{"info":' + encoded({"description": f"Tagfleet, batch {source.batch_id}"}) + b',"licenses":[],"images":['
    yield from _joined(images())
    yield b'],"annotations":['
    yield from _joined(annotations())
    yield b'],"categories":['
    yield from _joined(categories)
    yield b"]}\n"


class _Categories:
    """The tags that were met, numbered in the order in which they were met."""

    def __init__(self) -> None:
        self._met: dict[str, dict[str, Any]] = {}

    def number(self, name: str) -> int:
        category = self._met.setdefault(tag_key(name), {"id": len(self._met) + 1, "name": name, "supercategory": "tag"})
        return int(category["id"])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self._met.values())


def _annotations(image: Image, categories: _Categories) -> Iterator[dict[str, Any]]:
    for tag in image.tags:
        one = {"image_id": image.position, "category_id": categories.number(tag["name"]), "source": tag["source"]}
        for box in tag["instances"]:
            yield one | _score(box["confidence"]) | {"relative_bbox": box["box"], "iscrowd": 0}
        if not tag["instances"]:
            yield one | _score(tag["confidence"])


def _score(confidence: float | None) -> dict[str, float]:
    return {} if confidence is None else {"score": confidence}


def _joined(parts: Iterable[dict[str, Any]]) -> Iterator[bytes]:
    """With commas between them, in pieces of some size."""
    group: list[bytes] = []
    for number, part in enumerate(parts):
        group.append((b"," if number else b"") + encoded(part))
        if len(group) == _GROUP:
            yield b"".join(group)
            group = []
    yield b"".join(group)
