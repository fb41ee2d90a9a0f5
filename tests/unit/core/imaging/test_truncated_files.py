"""A file whose end is missing is tagged where every pixel is there; one that is really cut is an error."""

from __future__ import annotations

import os
import random
import struct
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from core.errors import BadImage
from core.imaging.decode import DecodeBudget, Decoder
from tests.pictures import case, photo, saved

DECODER = Decoder(64, DecodeBudget(600))
EOI = b"\xff\xd9"

JPEGS = {
    "baseline": saved(photo(), "JPEG", quality=85),
    "progressive": saved(photo(), "JPEG", quality=85, progressive=True),
    "grey": saved(photo().convert("L"), "JPEG"),
    "CMYK": saved(photo().convert("CMYK"), "JPEG"),
    "restarts": saved(photo(), "JPEG", restart_marker_rows=1),
    "one restart interval": saved(photo(), "JPEG", restart_marker_blocks=65_535),
    "one MCU": saved(photo(8, 8), "JPEG", quality=95),
    "large, decoded at a fraction": saved(photo(2000, 1600), "JPEG", quality=60),
    "large and progressive": saved(photo(2000, 1600), "JPEG", quality=60, progressive=True),
}


def pixels(data: bytes) -> bytes:
    return DECODER.show(data).tobytes()


@pytest.mark.parametrize("kind", JPEGS)
def test_a_jpeg_without_its_end_marker_is_as_the_whole_one(kind: str) -> None:
    whole = JPEGS[kind]
    assert whole.endswith(EOI)
    for missing in (1, 2):
        assert pixels(whole[:-missing]) == pixels(whole)


@pytest.mark.parametrize("kind", JPEGS)
@pytest.mark.parametrize("end", [b"", EOI[:1]])
def test_a_jpeg_that_lacks_one_byte_of_its_pixels_is_an_error(kind: str, end: bytes) -> None:
    for missing in (3, 4, 5, 8, 20):
        with pytest.raises(BadImage, match="it ends before its last pixel"):
            DECODER.show(JPEGS[kind][:-missing] + end)


@given(kind=st.sampled_from(sorted(JPEGS)), share=st.floats(0, 1))
@settings(max_examples=120)
def test_a_jpeg_is_cut_wherever_it_is_cut(kind: str, share: float) -> None:
    whole = JPEGS[kind]
    cut = whole[: int(share * (len(whole) - 3))]
    with pytest.raises(BadImage, match=r"damaged|empty|not an image"):
        DECODER.show(cut)


def test_a_progressive_jpeg_that_lacks_its_last_scans_is_cut() -> None:
    """It would decode without a warning, as a blurred picture."""
    whole = JPEGS["progressive"]
    scans = [place for place in range(len(whole)) if whole.startswith(b"\xff\xda", place)]
    assert len(scans) > 5
    for place in scans[1:]:
        start = whole.rindex(b"\xff\xc4", 0, place)  # the tables before it
        for end in (start, place):
            with pytest.raises(BadImage, match="it ends before its last pixel"):
                DECODER.show(whole[:end])


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "HEIF", "AVIF"])
@pytest.mark.parametrize("garbage", [b"\0" * 100, b"trailing garbage\n", bytes(range(256)) * 9])
def test_what_follows_the_end_changes_nothing(format: str, garbage: bytes) -> None:
    data = saved(photo(200, 150), format)
    assert pixels(data + garbage) == pixels(data)


PNGS = {
    "plain": saved(photo(200, 150), "PNG"),
    "palette": saved(photo(200, 150).quantize(64), "PNG"),
    "16 bits": saved(Image.fromarray(np.asarray(photo(200, 150).convert("L")).astype(np.uint16) * 257), "PNG"),
}


@pytest.mark.parametrize("kind", ["plain", "palette", "16 bits"])
def test_a_png_without_its_last_chunk_is_as_the_whole_one(kind: str) -> None:
    whole = PNGS[kind]
    for missing in (*range(1, 13), 14, 16):  # the IEND, and of the last IDAT its checksum
        assert pixels(whole[:-missing]) == pixels(whole), missing
    for missing in (60, 300, len(whole) // 2):
        with pytest.raises(BadImage, match="damaged"):
            DECODER.show(whole[:-missing])


def test_a_gif_without_its_trailer_is_as_the_whole_one() -> None:
    whole = saved(photo(200, 150).quantize(64), "GIF")
    assert whole.endswith(b"\0;")
    assert pixels(whole[:-1]) == pixels(whole[:-2]) == pixels(whole)
    with pytest.raises(BadImage, match="damaged"):
        DECODER.show(whole[: len(whole) // 2])


@pytest.mark.parametrize("lossless", [False, True])
@pytest.mark.parametrize("stated", [0, 4, 1000, 2**32 - 2])
def test_a_webp_that_states_a_wrong_length_is_as_the_whole_one(lossless: bool, stated: int) -> None:
    whole = saved(photo(200, 150), "WEBP", lossless=lossless)
    assert pixels(whole[:4] + struct.pack("<I", stated) + whole[8:]) == pixels(whole)
    with pytest.raises(BadImage, match="it ends before its last pixel"):
        DECODER.show(whole[: len(whole) // 2])


def test_the_first_frame_of_an_animated_webp_is_decoded_alone() -> None:
    frames = [photo(200, 150, seed) for seed in range(5)]
    data = saved(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert pixels(data) == pixels(saved(frames[0], "WEBP", lossless=True))


def test_a_jpeg_with_another_picture_behind_it_is_the_first_one() -> None:
    first, second = saved(photo(300, 200, 1), "JPEG"), saved(photo(2400, 1600, 2), "JPEG", quality=30)
    assert pixels(first + second) == pixels(first)
    both = BytesIO()
    photo(300, 200, 1).save(both, "MPO", save_all=True, append_images=[photo(1500, 1000, 2)])
    assert DECODER.show(both.getvalue()).size[0] <= 300


def test_cuts_at_every_place_of_a_small_jpeg() -> None:
    whole = saved(photo(40, 40), "JPEG", quality=70)
    for end in random.Random(3).sample(range(len(whole) - 2), 200):
        with pytest.raises(BadImage):
            DECODER.show(whole[:end])


@pytest.mark.parametrize("name", ["trunc2.jpg", "jpg_prog_noeoi.jpg", "png_noiend.png"])
def test_cases_are_tagged(name: str) -> None:
    path = case(dict(os.environ), f"08-jpeg-without-eoi/{name}")
    if path is None:
        pytest.skip("no cases beside the test data")
    assert DECODER.decode(path.read_bytes()).mode == "RGB"
