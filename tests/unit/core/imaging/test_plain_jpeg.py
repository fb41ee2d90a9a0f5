"""A device decodes only what any decoder decodes alike; everything else stays with ours."""

from __future__ import annotations

from typing import Any

import pytest
from PIL import Image, ImageCms

from core.imaging.decode import UPRIGHT_SIZE, DecodeBudget, Decoder
from core.imaging.plain_jpeg import read_plain_jpeg
from tests.pictures import photo, saved

SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def jpeg(image: Image.Image | None = None, **options: Any) -> bytes:
    return saved(image or photo(), "JPEG", **options)


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return jpeg(photo(640, 400), exif=exif)


def with_rgb_components() -> bytes:
    return jpeg(keep_rgb=True)


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_baseline_photos_are_plain(subsampling: str) -> None:
    found = read_plain_jpeg(jpeg(subsampling=subsampling))
    assert found is not None
    assert (found.size, found.upright_size, found.orientation) == ((640, 480), (640, 480), 1)


def test_grey_ones_and_those_in_srgb_are() -> None:
    assert read_plain_jpeg(jpeg(photo().convert("L"))) is not None
    assert read_plain_jpeg(jpeg(icc_profile=SRGB)) is not None


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_upright_size_is_our_decoders(orientation: int) -> None:
    data = turned(orientation)
    found = read_plain_jpeg(data)
    assert found is not None
    assert found.orientation == orientation
    assert found.upright_size == Decoder(232, DecodeBudget(600)).decode(data).info[UPRIGHT_SIZE]


def swapped_profile() -> bytes:
    """A profile under which red and green change places."""
    at = {tag: SRGB.index(tag) for tag in (b"rXYZ", b"gXYZ")}
    profile = bytearray(SRGB)
    profile[at[b"rXYZ"] : at[b"rXYZ"] + 4], profile[at[b"gXYZ"] : at[b"gXYZ"] + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile)


@pytest.mark.parametrize(
    "data",
    [
        jpeg(progressive=True),
        jpeg(photo().convert("CMYK")),
        jpeg(icc_profile=swapped_profile()),
        with_rgb_components(),
        jpeg(photo(60, 480)),
        jpeg()[:-2],
        jpeg()[:5000],
        saved(photo(), "PNG"),
        b"",
        b"\xff\xd8\xff\xe0just text",
    ],
    ids=["progressive", "cmyk", "profile", "rgb", "small", "unended", "cut", "png", "empty", "text"],
)
def test_all_others_are_not(data: bytes) -> None:
    assert read_plain_jpeg(data) is None


def test_huge_ones_are_not() -> None:
    data = jpeg()
    at = data.index(b"\xff\xc0") + 5
    for size in ((17_000, 400), (8000, 8000)):
        grown = data[:at] + size[1].to_bytes(2) + size[0].to_bytes(2) + data[at + 4 :]
        assert read_plain_jpeg(grown) is None
