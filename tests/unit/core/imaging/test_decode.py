"""What people drop ends as an RGB image or as one sentence of a closed set."""

from __future__ import annotations

import csv
import random
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from core.errors import BadImage
from core.imaging.damage import SENTENCES
from core.imaging.decode import DecodeBudget, Decoder
from core.imaging.formats import FORMATS
from tests.pictures import huge_png, photo, saved, spotted

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow's, about damaged metadata

DECODER = Decoder(side=64, budget=DecodeBudget(600))

OURS = re.compile("|".join(re.sub(r"\\{[^}]*\\}", ".+", re.escape(sentence)) for sentence in SENTENCES))


def is_ours(sentence: str) -> bool:
    return OURS.fullmatch(sentence) is not None


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF"])
def test_each_format_is_read_by_its_bytes(format: str) -> None:
    image = DECODER.decode(saved(spotted((250, 20, 20), (90, 70)), format))
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
    image = Image.new("RGBA", (80, 80), (0, 0, 0, 0))
    image.paste((9, 9, 200, 255), (40, 40, 80, 80))
    decoded = DECODER.decode(saved(image, "PNG"))
    assert decoded.getpixel((5, 5)) == (255, 255, 255)
    assert decoded.getpixel((70, 70)) == (9, 9, 200)


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
    decoded = DECODER.decode(saved(spotted("green", (4000, 3000)), "JPEG"))
    assert 2 * 64 <= min(decoded.size) < 1000


def test_the_first_frame_of_an_animation_counts() -> None:
    frames = [spotted(colour, (70, 70)) for colour in ("red", "blue")]
    data = saved(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert DECODER.decode(data).getpixel((9, 9)) == (255, 0, 0)


def test_no_bytes() -> None:
    with pytest.raises(BadImage, match="the file is empty"):
        DECODER.decode(b"")


def test_text_by_another_name() -> None:
    with pytest.raises(BadImage, match="not an image that can be read here"):
        DECODER.decode(b"Dear diary, today I was called holiday.jpg")


def test_a_bomb_is_refused_by_its_header() -> None:
    with pytest.raises(BadImage, match="too large: 30000 × 30000 pixels"):
        DECODER.decode(huge_png(30_000, 30_000))


def test_what_would_take_too_much_memory_is_refused() -> None:
    with pytest.raises(BadImage, match=r"would take 0\.7 GB to decode, the limit is 0\.6 GB"):
        DECODER.decode(huge_png(12_000, 12_000))


@given(data=st.binary(max_size=200), cut=st.integers(0, 400))
def test_any_bytes_end_as_an_image_or_a_bad_image(data: bytes, cut: int) -> None:
    real = saved(spotted("red", (70, 70)), "JPEG")
    for upload in (data, real[:cut], real[:cut] + data):
        try:
            assert DECODER.decode(upload).mode == "RGB"
        except BadImage as error:
            assert is_ours(str(error))


def test_the_zoo_decodes_as_a_strict_decoder_says(data: Path) -> None:
    """Every file of the zoo in a format that we read: decoded where Pillow decodes it, a sentence where it does not.

    Blank pictures count as decoded: the zoo has many, and that they have nothing to tag is tested elsewhere.
    """
    surprises = []
    for row in csv.DictReader((data / "odd" / "manifest.csv").open()):
        try:
            DECODER.show((data / "odd" / row["file"]).read_bytes())
            decoded = True
        except BadImage as error:
            assert is_ours(str(error))
            decoded = False
        expected = row["decodes"] == "yes" and row["format"] in (*FORMATS, "MPO")
        if decoded != expected:
            surprises.append(row["file"])
    assert surprises == [
        "png_decompression_dos.png",  # a text of a gigabyte beside a sound picture, which is left out
        "truncated_end_chunk.png",  # every pixel is there, only the file's end is not
        "truncated_jpeg.jpg",  # the same
        "unknown_compression_method.png",  # of its profile, which is left out
        "apng_chunk_no_fctl.png",  # an animation that is broken, beside a sound picture, which is what we read
        "avif_hopper.heif",  # an AVIF inside HEIF, which the manifest's decoder did not know
    ]


def test_the_budget_is_shared() -> None:
    budget = DecodeBudget(1)
    with budget.reserve(900_000), budget.reserve(100_000):
        pass
    with budget.reserve(1_000_000):  # all of it came back
        pass


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF"])
def test_whatever_is_wrong_with_a_file_is_said_in_our_own_words(format: str) -> None:
    """Bytes changed, cut and doubled at random: an image, or one of the sentences that there are."""
    chance = random.Random(format)
    real = saved(photo(120, 90), format)
    for _ in range(150):
        bytes_ = bytearray(real)
        for _ in range(chance.choice((0, 1, 3, 20))):
            place = chance.randrange(min(len(bytes_), chance.choice((64, 700, len(bytes_)))))
            bytes_[place] = chance.randrange(256)
        if chance.random() < 0.5:
            del bytes_[chance.randrange(len(bytes_)) :]
        try:
            assert DECODER.decode(bytes(bytes_)).mode == "RGB"
        except BadImage as error:
            assert is_ours(str(error))


def test_the_zoo_changed_at_random_is_said_in_our_own_words(data: Path) -> None:
    chance = random.Random(9)
    for path in sorted((data / "odd").iterdir()):
        bytes_ = bytearray(path.read_bytes()[:200_000])
        for _ in range(4):
            bytes_[chance.randrange(len(bytes_))] = chance.randrange(256)
        try:
            assert DECODER.decode(bytes(bytes_)).mode == "RGB"
        except BadImage as error:
            assert is_ours(str(error))


BLANK = {
    "nothing to tag: every pixel is transparent": [
        ("PNG", Image.new("RGBA", (90, 70), (200, 30, 30, 0))),
        ("PNG", Image.new("LA", (90, 70), (200, 0))),
        ("WEBP", Image.new("RGBA", (90, 70), (0, 0, 0, 0))),
        ("TIFF", Image.new("RGBA", (900, 700), (0, 0, 0, 0))),
    ],
    "nothing to tag: every pixel has the same colour": [
        *(
            (format, Image.new("RGB", (90, 70), (30, 60, 90)))
            for format in ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
        ),
        ("PNG", Image.new("1", (90, 70), 1)),
        ("PNG", Image.new("I;16", (90, 70), 40_000)),
        ("TIFF", Image.new("F", (90, 70), 0.5)),
        ("TIFF", Image.new("CMYK", (90, 70), (9, 9, 9, 9))),
        ("PNG", Image.new("RGBA", (90, 70), (30, 60, 90, 128))),
        ("JPEG", Image.new("RGB", (4000, 3000), "white")),
    ],
}


@pytest.mark.parametrize(
    ("why", "format", "image"), [(why, *one) for why, pictures in BLANK.items() for one in pictures]
)
def test_a_blank_picture_has_nothing_to_tag_and_is_shown(why: str, format: str, image: Image.Image) -> None:
    data = saved(image, format)
    with pytest.raises(BadImage, match=f"^{why}$"):
        DECODER.decode(data)
    assert DECODER.show(data).mode == "RGB"


@pytest.mark.parametrize("format", ["PNG", "JPEG"])
def test_one_spot_on_a_large_plain_picture_is_something_to_tag(format: str) -> None:
    """A star is lost in the reduced copy; the sentence would say of it what is not so."""
    sky = Image.new("RGB", (2400, 2000), "black")
    sky.paste("white", (1200, 1000, 1204, 1004))
    assert DECODER.decode(saved(sky, format, **({"quality": 95} if format == "JPEG" else {}))).mode == "RGB"


def zero_alpha_bmp(dib: bool) -> bytes:
    """A BMP of 32 bits whose fourth byte is declared as alpha and zero everywhere."""
    rgb = np.asarray(photo(80, 60))[::-1]
    pixels = np.dstack([rgb[..., ::-1], np.zeros(rgb.shape[:2], np.uint8)]).tobytes()
    masks = struct.pack("<IIII", 0xFF0000, 0xFF00, 0xFF, 0xFF000000)
    header = struct.pack("<IiiHHIIiiII", 108, 80, 60, 1, 32, 3, len(pixels), 2835, 2835, 0, 0) + masks
    body = header.ljust(108, b"\0") + pixels
    return body if dib else b"BM" + struct.pack("<IHHI", 14 + len(body), 0, 0, 122) + body


@pytest.mark.parametrize("dib", [False, True])
def test_a_bmp_whose_alpha_is_zero_everywhere_is_opaque(dib: bool) -> None:
    decoded = DECODER.decode(zero_alpha_bmp(dib))
    assert np.abs(np.asarray(decoded).astype(int) - np.asarray(photo(80, 60))).max() == 0


def test_bilevel_and_palettes_are_shrunk_as_greys_and_colours() -> None:
    """Half the pixels black: a reduced copy is grey, not a choice of some of them."""
    chequered = Image.fromarray(np.indices((512, 512)).sum(0) % 2 == 0)
    reduced = np.asarray(DECODER.show(saved(chequered, "PNG")))
    assert abs(int(reduced.min()) - 127) <= 1
    assert abs(int(reduced.max()) - 127) <= 1
    palette = Image.fromarray(np.indices((512, 512), np.uint8).sum(0, dtype=np.uint8) % 2, "P")
    palette.putpalette([255, 0, 0, 0, 0, 255])
    red, green, blue = np.asarray(DECODER.show(saved(palette, "PNG"))).mean((0, 1))
    assert (abs(red - 127) < 2, green, abs(blue - 127) < 2) == (True, 0.0, True)
