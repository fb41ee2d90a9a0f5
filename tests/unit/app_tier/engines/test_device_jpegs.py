"""Frames that are decoded and scaled by tensors equal those of Pillow's decoder and filters, to within a rounding."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from app_tier.engines.device_jpegs import DeviceJpegs
from app_tier.models.frames import to_frame
from app_tier.models.networks import NETWORKS, Network
from core.imaging.decode import DecodeBudget, Decoder
from core.imaging.plain_jpeg import PlainJpeg, read_plain_jpeg
from tests.fake_gpu import FakeGpu
from tests.pictures import photo, saved, spotted

BILINEAR, BICUBIC = NETWORKS["resnet50"], NETWORKS["efficientnet-lite0"]
NETWORKS_OF_BOTH_FILTERS = pytest.mark.parametrize("network", [BILINEAR, BICUBIC], ids=["bilinear", "bicubic"])


def plain(data: bytes) -> PlainJpeg:
    found = read_plain_jpeg(data)
    assert found is not None
    return found


def by_pillow(data: bytes, network: Network) -> np.ndarray:
    return to_frame(Decoder(network.resize, DecodeBudget(600)).decode(data), network)


def by_device(data: bytes, network: Network) -> np.ndarray:
    (frame,) = DeviceJpegs(FakeGpu(), network).decode([plain(data)])
    assert frame is not None
    found: np.ndarray = frame.pixels.numpy()
    return found


def difference(data: bytes, network: Network) -> np.ndarray:
    return np.abs(by_device(data, network).astype(int) - by_pillow(data, network))


@NETWORKS_OF_BOTH_FILTERS
@pytest.mark.parametrize(
    "size", [(640, 480), (480, 640), (100, 70), (233, 233), (1000, 400), (2011, 1503), (5000, 3700)]
)
def test_frames_equal_pillows(size: tuple[int, int], network: Network) -> None:
    apart = difference(saved(photo(*size), "JPEG", quality=90), network)
    assert apart.mean() <= 0.5
    assert apart.max() <= 12


@pytest.mark.parametrize("orientation", range(1, 9))
def test_frames_are_upright(orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    apart = difference(saved(photo(640, 400), "JPEG", exif=exif), BILINEAR)
    assert apart.mean() <= 0.5


@NETWORKS_OF_BOTH_FILTERS
def test_frames_of_photos_equal_pillows(data: Path, network: Network) -> None:
    """The docs state these bounds: docs/taggers.md."""
    files = sorted([*(data / "photos").glob("*.jpg"), *(data / "coco" / "images").glob("*.jpg")])
    contents = [content for content in (file.read_bytes() for file in files) if read_plain_jpeg(content)]
    assert len(contents) > len(files) / 2
    apart = [difference(content, network) for content in contents]
    assert max(each.mean() for each in apart) <= 0.5
    assert max(each.max() for each in apart) <= 12


@pytest.mark.parametrize("wrong", [{0}, {2}, {0, 1, 4}, {0, 1, 2, 3, 4}])
def test_what_the_device_refuses_is_left_out_and_nothing_else(wrong: set[int]) -> None:
    gpu = FakeGpu()
    contents = [saved(photo(seed=number), "JPEG") for number in range(5)]
    gpu.refuses = lambda data: data in [contents[number] for number in wrong]
    frames = DeviceJpegs(gpu, BILINEAR).decode([plain(content) for content in contents])
    assert {number for number, frame in enumerate(frames) if frame is None} == wrong
    for number, frame in enumerate(frames):
        if frame is not None:
            np.testing.assert_array_equal(frame.pixels.numpy(), by_device(contents[number], BILINEAR))


def test_a_picture_of_another_size_than_its_header_says_is_refused() -> None:
    lying = replace(plain(saved(photo(), "JPEG")), size=(64, 64))
    assert DeviceJpegs(FakeGpu(), BILINEAR).decode([lying]) == [None]


def test_blank_frames_are_left_to_our_decoder_which_sees_the_whole() -> None:
    """The corner is not in the crop: ours finds the picture worth tagging, and would not find the first."""
    blank, cornered = Image.new("RGB", (600, 300), "red"), spotted("red", (600, 300))
    contents = [saved(image, "JPEG") for image in (blank, cornered)]
    assert DeviceJpegs(FakeGpu(), BILINEAR).decode([plain(content) for content in contents]) == [None, None]
    assert by_pillow(contents[1], BILINEAR).shape == (224, 224, 3)


def test_large_pictures_are_decoded_in_several_groups() -> None:
    gpu = FakeGpu()
    large = plain(saved(photo(6000, 4000), "JPEG"))
    assert len(DeviceJpegs(gpu, BILINEAR).decode([large] * 5)) == 5
    assert gpu.decoded == [4, 1]
    assert DeviceJpegs(gpu, BILINEAR).decode([]) == []


def test_the_decoder_is_compared_with_ours_before_it_is_used() -> None:
    gpu = FakeGpu()
    difference = DeviceJpegs(gpu, BILINEAR).difference()
    assert difference is not None
    assert difference <= 0.1
    gpu.refuses = lambda data: True
    assert DeviceJpegs(gpu, BILINEAR).difference() is None
