"""Every list of formats names the same ones: one that is missing somewhere has no thumbnail, or is passed over."""

from __future__ import annotations

import re
from pathlib import Path

from PIL import Image

from core.imaging import costs, damage
from core.imaging.extensions import EXTENSIONS, IMAGE_EXTENSIONS
from core.imaging.formats import _READERS, FORMATS
from web_tier.page import routes

FOR_PEOPLE = {"WebP": "WEBP", "HEIC": "HEIF"}
"""How people call a format → how Pillow does. DIB is BMP for them."""


def named(names: list[str] | tuple[str, ...]) -> set[str]:
    return {FOR_PEOPLE.get(name, name) for name in names} | {"DIB"}


def test_every_list_of_formats_is_the_same() -> None:
    assert set(EXTENSIONS) == set(FORMATS) == set(_READERS) == set(costs.PIXEL_NS) == set(costs.BYTE_NS)


def test_people_are_told_the_same_formats() -> None:
    sentence = re.search(r"\((.*) can\)", damage.NO_IMAGE)
    assert sentence is not None
    assert named(re.split(r", | and ", sentence[1])) == named(routes.FORMATS) == set(FORMATS)


def test_pillow_knows_each_extension_by_the_same_format() -> None:
    pillows = Image.registered_extensions()
    known = {extension: pillows[extension] for extension in IMAGE_EXTENSIONS if extension in pillows}
    assert known == {extension: format for format, own in EXTENSIONS.items() for extension in own if extension in known}
    assert set(IMAGE_EXTENSIONS) - set(known) <= {".hif"}


def test_the_page_offers_only_extensions_that_are_read() -> None:
    page = Path(routes.__file__).with_name("templates") / "page.html"
    accepted = re.search(r'accept="([^"]+)"', page.read_text())
    assert accepted is not None
    assert set(accepted[1].split(",")) - {"image/*"} <= set(IMAGE_EXTENSIONS)
