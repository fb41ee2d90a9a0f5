"""Made-up photos have the requested size, decode, are reproducible, and no two are alike."""

from __future__ import annotations

from io import BytesIO

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from tagfleet.loadtest.photos import Photos
from tagfleet.loadtest.pictures import SMALLEST_BYTES, Picture
from tagfleet.loadtest.plan import LoadPlan, LoadTestError


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(size=st.integers(SMALLEST_BYTES, 120_000), seed=st.integers(0, 2**31), number=st.integers(0, 10**16 - 1))
def test_a_picture_has_its_size_and_decodes(size, seed, number):
    picture = Picture(size, seed)
    content = picture.copy(number)
    assert len(content) == size
    assert picture.padding <= size / 10  # the rest is picture
    with Image.open(BytesIO(content)) as image:
        image.load()
        assert image.format == "JPEG"
        assert image.width * 3 == pytest.approx(image.height * 4, abs=4)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_or_number_others():
    assert Picture(5_000, 1).copy(7) == Picture(5_000, 1).copy(7)
    assert len({Picture(5_000, seed).copy(number) for seed in (1, 2) for number in (7, 8)}) == 4


def test_a_large_photo_has_its_size_too():
    content = Picture(400_000, 0).copy(0)
    assert len(content) == 400_000
    Image.open(BytesIO(content)).verify()


def test_a_size_that_no_photo_has_is_refused_in_a_sentence():
    with pytest.raises(LoadTestError, match="photos of 300 bytes cannot be made"):
        Picture(300, 0)


def test_no_two_photos_of_a_test_are_alike_and_sizes_take_turns():
    photos = list(Photos(LoadPlan(count=70, sizes=(1_500, 3_000))))
    assert [len(content) for _, content in photos[:4]] == [1_500, 3_000, 1_500, 3_000]
    assert len({name for name, _ in photos}) == len({content for _, content in photos}) == 70


def test_a_folder_is_sent_again_and_again_until_there_are_enough(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"one")
    (tmp_path / "deeper").mkdir()
    (tmp_path / "deeper" / "b.PNG").write_bytes(b"two")
    (tmp_path / "notes.txt").write_bytes(b"no photo")
    photos = list(Photos(LoadPlan(count=3, folder=tmp_path)))
    assert [content for _, content in photos] == [b"one", b"two", b"one"]
    assert len({name for name, _ in photos}) == 3


def test_a_folder_without_a_photo_is_refused(tmp_path):
    with pytest.raises(LoadTestError, match="this folder contains no photos"):
        Photos(LoadPlan(count=3, folder=tmp_path))
