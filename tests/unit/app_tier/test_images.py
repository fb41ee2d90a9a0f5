"""What people drop ends as an RGB image or as one sentence."""

from __future__ import annotations

import csv
import struct
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from core.errors import BadImage
from core.imaging.decode import DecodeBudget, Decoder
from core.imaging.formats import FORMATS

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about damaged metadata

DECODER = Decoder(side=64, budget=DecodeBudget(600))


def saved(image: Image.Image, format: str, **options: object) -> bytes:
    stream = BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF"])
def test_each_format_is_read_by_its_bytes(format: str) -> None:
    image = DECODER.decode(saved(Image.new("RGB", (90, 70), (250, 20, 20)), format))
    red, green, blue = image.getpixel((40, 30))
    assert image.mode == "RGB"
    assert red > 200
    assert max(green, blue) < 60


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I", "F"])
def test_each_mode_becomes_rgb_of_the_same_brightness(mode: str) -> None:
    grey = Image.linear_gradient("L").resize((80, 80))
    scale = {"I;16": 257, "I": 257}.get(mode, 1)
    image = grey if mode not in ("I;16", "I", "F") else grey.convert("I").point(lambda value: value * scale)
    data = saved(image.convert(mode), "TIFF" if mode in ("CMYK", "F", "I") else "PNG")
    decoded = DECODER.decode(data)
    assert decoded.mode == "RGB"
    top, bottom = (decoded.getpixel((40, y))[0] for y in (4, 75))
    assert top < 40
    assert bottom > 215


def test_transparency_lies_over_white() -> None:
    image = DECODER.decode(saved(Image.new("RGBA", (80, 80), (0, 0, 0, 0)), "PNG"))
    assert image.getpixel((5, 5)) == (255, 255, 255)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    upright = Image.new("RGB", (80, 60), "blue")
    upright.paste("red", (0, 0, 40, 30))  # the upper left quarter
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # the inverse of each orientation's turn
    turned = upright if orientation == 1 else upright.transpose(Image.Transpose(back[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    decoded = DECODER.decode(saved(turned, "JPEG", exif=exif, quality=95))
    assert decoded.size == (80, 60)
    assert decoded.getpixel((10, 10))[0] > 200
    assert decoded.getpixel((70, 50))[2] > 200


def test_a_large_jpeg_is_decoded_at_a_reduced_scale() -> None:
    decoded = DECODER.decode(saved(Image.new("RGB", (4000, 3000), "green"), "JPEG"))
    assert 2 * 64 <= min(decoded.size) < 1000


def test_the_first_frame_of_an_animation_counts() -> None:
    frames = [Image.new("RGB", (70, 70), colour) for colour in ("red", "blue")]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert DECODER.decode(data).getpixel((9, 9)) == (255, 0, 0)


def test_no_bytes() -> None:
    with pytest.raises(BadImage, match="the file is empty"):
        DECODER.decode(b"")


def test_text_by_another_name() -> None:
    with pytest.raises(BadImage, match="not an image that can be read here"):
        DECODER.decode(b"Dear diary, today I was called holiday.jpg")


def huge_png(side: int) -> bytes:
    """A PNG that says it is side × side and holds nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")


def test_a_bomb_is_refused_by_its_header() -> None:
    with pytest.raises(BadImage, match="too large: 30000 × 30000 pixels"):
        DECODER.decode(huge_png(30_000))


def test_what_would_take_too_much_memory_is_refused() -> None:
    with pytest.raises(BadImage, match=r"would take 0\.7 GB to decode, the limit is 0\.6 GB"):
        DECODER.decode(huge_png(12_000))


@given(data=st.binary(max_size=200), cut=st.integers(0, 400))
def test_any_bytes_end_as_an_image_or_a_bad_image(data: bytes, cut: int) -> None:
    real = saved(Image.new("RGB", (70, 70), "red"), "JPEG")
    for upload in (data, real[:cut], real[:cut] + data):
        try:
            assert DECODER.decode(upload).mode == "RGB"
        except BadImage as error:
            assert str(error)


def test_the_zoo_decodes_as_a_strict_decoder_says(data: Path) -> None:
    """Every file of the zoo in a format that we read: decoded where Pillow decodes it, a sentence where it does not."""
    surprises = []
    for row in csv.DictReader((data / "odd" / "manifest.csv").open()):
        try:
            DECODER.decode((data / "odd" / row["file"]).read_bytes())
            decoded = True
        except BadImage as error:
            assert "\n" not in str(error)
            decoded = False
        expected = row["decodes"] == "yes" and row["format"] in (*FORMATS, "MPO")
        if decoded != expected:
            surprises.append(row["file"])
    assert surprises == ["avif_hopper.heif"]  # an AVIF inside HEIF, which the manifest's decoder did not know


def test_the_budget_is_shared(picture: Callable[..., bytes]) -> None:
    budget = DecodeBudget(1)
    with budget.reserve(900_000), budget.reserve(100_000):
        pass
    with budget.reserve(1_000_000):  # all of it came back
        pass
