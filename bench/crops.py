"""Crop single objects from COCO's scenes: pictures that suit a classifier with one label per picture."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import click
from PIL import Image

from bench import data

_SMALLEST_PX = 96


def collect(source: Path, folder: Path) -> int:
    """Copy the test data's photos and their crops into `folder`; return their number."""
    made = crops(source / "coco", folder / "crops")
    photos = [*(source / "photos").glob("*.jpg"), *(source / "coco" / "images").glob("*.jpg")]
    for photo in photos:
        shutil.copyfile(photo, folder / photo.name)
    return made + len(photos)


def crops(coco: Path, folder: Path) -> int:
    """Write each box of `coco`/instances.json with sides of at least 96 px into `folder` as JPEG; return their number.

    A box becomes a square where the image has room, because classifiers also use an object's surroundings.
    """
    said = json.loads((coco / "instances.json").read_text())
    files = {image["id"]: image["file_name"] for image in said["images"]}
    folder.mkdir(parents=True, exist_ok=True)
    made = 0
    for one in said["annotations"]:
        x, y, width, height = one["bbox"]
        if min(width, height) < _SMALLEST_PX:
            continue
        side = max(width, height)
        image = Image.open(coco / "images" / files[one["image_id"]]).convert("RGB")
        left = max(0.0, min(x - (side - width) / 2, image.width - side))
        top = max(0.0, min(y - (side - height) / 2, image.height - side))
        box = (int(left), int(top), int(min(left + side, image.width)), int(min(top + side, image.height)))
        image.crop(box).save(folder / f"{one['id']}.jpg", quality=95)
        made += 1
    return made


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
def command(folder: Path) -> Iterator[str]:
    """Copy the test data's photos, and single objects cut out of COCO's, into FOLDER.

    They serve to make and to measure int8 engines.
    """
    found = data.test_data(os.environ)
    if found is None:
        raise click.UsageError("there is no test data: name its folder in TAGFLEET_TEST_DATA")
    yield f"{collect(found, folder)} pictures are in {folder}"
