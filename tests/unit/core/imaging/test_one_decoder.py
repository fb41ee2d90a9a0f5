"""There is one decoder: nothing else opens what strangers send."""

from __future__ import annotations

import ast
from pathlib import Path

from core.imaging.formats import FORMATS, sniff
from tests.pictures import photo, saved

ROOT = Path(__file__).parents[4]

OWN_PICTURES = {
    "controller/simulation/plots.py",  # plots that it has drawn itself
    "training/data/fingerprints.py",  # the size of a photo that the decoder has read before
    "training/florence2/examples.py",  # sizes of photos of whoever trains
}


def opens(path: Path) -> bool:
    tree = ast.parse(path.read_text())
    return any(
        isinstance(node, ast.Attribute)
        and node.attr == "open"
        and isinstance(node.value, ast.Name)
        and node.value.id == "Image"
        for node in ast.walk(tree)
    )


def test_images_are_opened_in_one_place() -> None:
    tiers = ("app_tier", "config", "controller", "core", "tagfleet", "training", "web_tier")
    found = {str(path.relative_to(ROOT)) for tier in tiers for path in (ROOT / tier).rglob("*.py") if opens(path)}
    headers = {"core/imaging/orientation.py", "core/imaging/plain_jpeg.py"}
    assert found == {"core/imaging/decode.py", *headers, *OWN_PICTURES}


def test_every_format_is_recognised_by_its_first_bytes() -> None:
    assert {sniff(saved(photo(40, 30), format)) for format in FORMATS} == set(FORMATS)
    assert sniff(b"GIF88a") is sniff(b"") is sniff(b"%PDF-1.7") is None
