"""Results as rows: CSV for spreadsheets, one row for each tag; JSON lines for programs, one for each image."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

from web_tier.catalog import Image
from web_tier.exports.source import Source
from web_tier.present import encoded, item

COLUMNS = (
    "image_id",
    "name",
    "sha256",
    "bytes",
    "status",
    "error",
    "caption",
    "tagger",
    "tag",
    "confidence",
    "source",
)
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def as_csv(source: Source) -> Iterator[bytes]:
    """RFC 4180 in UTF-8. An image without tags is one row without a tag.

    Text that a spreadsheet would take for a formula begins with an apostrophe, which it does not show.
    """
    yield (",".join(COLUMNS) + "\r\n").encode()
    for page in source.pages():
        text = io.StringIO(newline="")
        csv.writer(text).writerows(row for image in page for row in _rows(image))
        yield text.getvalue().encode()


def as_json_lines(source: Source) -> Iterator[bytes]:
    """The items as the API gives them."""
    for page in source.pages():
        yield b"".join(encoded(item(image)) + b"\n" for image in page)


def _rows(image: Image) -> Iterator[list[Any]]:
    shown = item(image)
    of_image = [_plain(shown[name]) for name in COLUMNS[:-3]]
    for tag in image.tags or [{"name": None, "confidence": None, "source": None}]:
        yield [*of_image, _plain(tag["name"]), tag["confidence"], tag["source"]]


def _plain(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
