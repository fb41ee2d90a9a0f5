"""The size of a picture from its header is that of the picture when it is decoded and turned."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from core.imaging.decode import UPRIGHT_SIZE, DecodeBudget, Decoder
from core.imaging.orientation import read_upright_size
from tests.pictures import spotted

FORMATS = {"JPEG": {}, "PNG": {}, "WEBP": {}, "TIFF": {}, "AVIF": {}, "HEIF": {}, "MPO": {}}


def picture(format: str, orientation: int | None) -> bytes:
    exif = Image.Exif()
    if orientation is not None:
        exif[0x0112] = orientation
    out = io.BytesIO()
    spotted("red", (40, 24)).save(out, format, exif=exif)
    return out.getvalue()


@pytest.mark.parametrize("orientation", [None, *range(1, 10)])
@pytest.mark.parametrize("format", FORMATS)
def test_it_is_the_size_of_the_decoded_picture(format, orientation):
    data = picture(format, orientation)
    decoded = Decoder(1000, DecodeBudget(100)).decode(data)
    assert sorted(decoded.size) == [24, 40]
    assert read_upright_size(data) == decoded.info[UPRIGHT_SIZE] == decoded.size


@pytest.mark.parametrize("format", ["GIF", "BMP", "DIB"])
def test_formats_without_orientation(format):
    out = io.BytesIO()
    Image.new("RGB", (40, 24), "red").save(out, format)
    assert read_upright_size(out.getvalue()) == (40, 24)


def test_an_orientation_after_the_pixels():
    data = picture("PNG", 6)
    at = data.index(b"eXIf") - 4
    length = int.from_bytes(data[at : at + 4]) + 12
    chunk, end = data[at : at + length], data.rindex(b"IEND") - 4
    late = data[:at] + data[at + length : end] + chunk + data[end:]
    assert late.index(b"eXIf") > late.index(b"IDAT")
    assert read_upright_size(late) == Decoder(1000, DecodeBudget(100)).decode(late).size == (24, 40)


def test_no_pixel_is_decoded():
    """A picture whose pixels are cut off still has its size."""
    for format in ("JPEG", "PNG", "TIFF"):
        out = io.BytesIO()
        Image.effect_noise((400, 240), 90).convert("RGB").save(out, format)
        kept = len(out.getvalue()) // 2 if format != "TIFF" else len(out.getvalue())
        assert read_upright_size(out.getvalue()[:kept]) == (400, 240)


@pytest.mark.parametrize("data", [b"", b"GIF89a", b"one", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n" + b"\0" * 50])
def test_what_is_no_picture_has_none(data):
    assert read_upright_size(data) is None
