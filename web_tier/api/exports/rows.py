"""Write results as rows: CSV for spreadsheets, a row for each tag; JSON lines for programs, a line for each image."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from core.util import spreadsheets
from web_tier.api.exports.source import Source
from web_tier.catalog.batches import Image
from web_tier.http.responses import encode_json
from web_tier.services.serializers import serialize_image

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


def as_csv(source: Source, *, plain: bool = False) -> Iterator[bytes]:
    """Yield RFC 4180 in UTF-8, a row for each tag; an image without tags has one row without a tag.

    Spreadsheets open it as text. `plain` is for programs: no byte-order mark, and no apostrophe before a cell that a
    spreadsheet would run as a formula.
    """
    yield (("" if plain else spreadsheets.MARK) + spreadsheets.lines([COLUMNS])).encode()
    for page in source.pages():
        yield spreadsheets.lines((row for image in page for row in _rows(image)), plain=plain).encode()


def as_json_lines(source: Source) -> Iterator[bytes]:
    """Yield the items as the API shows them, each in a line."""
    for page in source.pages():
        yield b"".join(encode_json(serialize_image(image)) + b"\n" for image in page)


def _rows(image: Image) -> Iterator[list[Any]]:
    shown = serialize_image(image)
    of_image = [shown[name] for name in COLUMNS[:-3]]
    for tag in image.tags or [{"name": None, "confidence": None, "source": None}]:
        yield [*of_image, tag["name"], tag["confidence"], tag["source"]]
