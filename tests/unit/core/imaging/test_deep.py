"""Grey pictures of more than 8 bits look as their 8-bit twin does, whatever their depth, sign, order and polarity."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from core.errors import BadImage
from core.imaging.decode import DecodeBudget, Decoder
from tests.pictures import case, gradient, saved, tiff

DECODER = Decoder(64, DecodeBudget(600))
GRADIENT = gradient()
TWIN = saved(Image.fromarray((GRADIENT * 255).round().astype(np.uint8)), "PNG")


def levels(data: bytes) -> npt.NDArray[np.int64]:
    return np.asarray(DECODER.decode(data).convert("L")).astype(np.int64)


def looks_like_its_twin(data: bytes, within: float = 2.0) -> bool:
    return bool(np.abs(levels(data) - levels(TWIN)).mean() <= within)


KINDS: list[tuple[str, float]] = [
    ("uint8", 255),
    ("uint16", 65535),
    ("uint16", 4095),
    ("uint16", 1023),
    ("uint16", 16383),
    ("int16", 32767),
    ("int16", 4095),
    ("uint32", 65535),
    ("uint32", 4_294_967_295),
    ("int32", 255),
    ("int32", 2_000_000_000),
    ("float32", 1.0),
    ("float32", 255.0),
    ("float32", 65535.0),
    ("float32", 3.0e6),
    ("float64", 1.0),
    ("float64", 1e9),
]


@pytest.mark.parametrize("deflate", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("photometric", [1, 0])
@pytest.mark.parametrize(("kind", "top"), KINDS)
def test_every_depth_sign_order_and_polarity(
    kind: str, top: float, photometric: int, order: str, deflate: bool
) -> None:
    shown = GRADIENT if photometric else 1 - GRADIENT
    values = (shown * top).astype(np.dtype(kind)) if kind.startswith("f") else np.round(shown * top).astype(kind)
    data = tiff(values, photometric=photometric, order=order, deflate=deflate)
    assert looks_like_its_twin(data, 10.0 if top in (3.0e6, 1e9, 2_000_000_000) else 2.0)


@pytest.mark.parametrize("brightest", [0.3, 0.45, 0.8])
@pytest.mark.parametrize(("kind", "top"), [("uint16", 65535), ("float32", 1.0)])
def test_a_dark_picture_stays_dark(kind: str, top: float, brightest: float) -> None:
    dark = GRADIENT * brightest
    twin = levels(saved(Image.fromarray((dark * 255).round().astype(np.uint8)), "PNG"))
    assert np.abs(levels(tiff((dark * top).astype(kind))) - twin).mean() <= 2.0


@pytest.mark.parametrize("bits", [1, 2, 4])
@pytest.mark.parametrize("photometric", [1, 0])
def test_few_bits(bits: int, photometric: int) -> None:
    steps = (1 << bits) - 1
    coarse = np.round(GRADIENT * steps).astype(np.uint8)
    packed = coarse if photometric else steps - coarse
    rows = np.packbits(((packed[..., None] >> np.arange(bits)[::-1]) & 1).reshape(len(packed), -1), axis=1)
    data = tiff(rows, photometric=photometric, width=packed.shape[1], bits=bits)
    twin = levels(saved(Image.fromarray((coarse * (255 // steps)).astype(np.uint8)), "PNG"))
    assert np.abs(levels(data) - twin).max() <= 1


@pytest.mark.parametrize("odd", [1.05, 40.0, 1e30, -3.0, float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("photometric", [1, 0])
def test_a_few_odd_pixels_change_nothing_else(odd: float, photometric: int) -> None:
    values = GRADIENT.astype(np.float32)
    control = levels(tiff(values, photometric=photometric))
    values[3, 3] = values[70, 90] = odd
    changed = levels(tiff(values, photometric=photometric))
    differs = np.abs(changed - control) > 0
    assert differs.sum() <= 2


@pytest.mark.parametrize(
    ("kind", "top", "hot"), [("uint16", 4095, 65535), ("int32", 60_000, 2**31 - 1), ("uint16", 255, 60_000)]
)
def test_hot_pixels_of_integers_darken_nothing(kind: str, top: int, hot: int) -> None:
    values = np.round(GRADIENT * top).astype(kind)
    values[5, 5] = values[60, 20] = hot
    if top == 60_000:  # beyond no convention, and near one
        assert np.abs(levels(tiff(values)) - levels(TWIN)).mean() < 15
    else:
        assert looks_like_its_twin(tiff(values))


def test_many_negative_values_are_part_of_the_scale_and_few_are_noise() -> None:
    assert looks_like_its_twin(tiff((GRADIENT * 2 - 1).astype(np.float32)))
    assert looks_like_its_twin(tiff(np.round(GRADIENT * 4000 - 1000).astype(np.int16)), 3)
    values = GRADIENT.astype(np.float32)
    values[0, :8] = -0.5
    assert looks_like_its_twin(tiff(values))


def test_values_that_are_not_numbers_alone_are_nothing_to_tag() -> None:
    with pytest.raises(BadImage, match="every pixel has the same colour"):
        DECODER.decode(tiff(np.full((70, 90), np.nan, np.float32)))


@pytest.mark.parametrize("kind", ["float16", "uint64"])
def test_kinds_that_nothing_here_can_unpack_are_said_to_be_that(kind: str) -> None:
    with pytest.raises(BadImage, match="a kind of TIFF that cannot be read here"):
        DECODER.decode(tiff((GRADIENT * 200).astype(kind)))


def test_a_dim_picture_of_16_bits_in_a_png_is_seen() -> None:
    assert looks_like_its_twin(saved(Image.fromarray(np.round(GRADIENT * 4095).astype(np.uint16)), "PNG"))


def test_a_large_deep_picture_is_scaled_in_blocks_and_shrunk_after_that() -> None:
    wide = np.kron(GRADIENT, np.ones((30, 30))).astype(np.float32)
    wide[0, 0] = np.nan
    small = levels(tiff(wide))
    assert small.shape[0] < 200
    assert small.min() < 15
    assert small.max() > 240


def same(one: str, other: str) -> Any:
    first, second = case(dict(os.environ), one), case(dict(os.environ), other)
    if first is None or second is None:
        pytest.skip("no cases beside the test data")
    return np.abs(levels(first.read_bytes()) - levels(second.read_bytes())).mean()


@pytest.mark.parametrize(
    ("one", "control"),
    [
        ("03-float-white-point/f_105.tif", "03-float-white-point/f_01.tif"),
        ("03-float-white-point/f_nan.tif", "03-float-white-point/f_01.tif"),
        ("04-min-is-white-16bit/gray_u16_miniswhite.tif", "04-min-is-white-16bit/gray_u8_miniswhite.tif"),
    ],
)
def test_cases_look_as_their_controls(one: str, control: str) -> None:
    assert same(one, control) < 0.6
