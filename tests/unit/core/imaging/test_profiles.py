"""Colours arrive in sRGB, whatever profile a picture has; a profile that is of no use is as none."""

from __future__ import annotations

import os
import struct
from io import BytesIO
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from core.imaging import profiles
from core.imaging.decode import DecodeBudget, Decoder
from tests.pictures import case, photo, saved

DECODER = Decoder(64, DecodeBudget(600))
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def profile(space: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr", pcs: bytes = b"XYZ ") -> bytes:
    """An ICC profile, version 2, of these tags."""
    table, body = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        value += bytes(-len(value) % 4)
        table += name + struct.pack(">II", start + len(body), len(value))
        body += value
    size = start + len(body)
    head = struct.pack(">I4sI4s4s4s", size, b"lcms", 0x02400000, kind, space, pcs) + bytes(12) + b"acsp"
    head = head.ljust(68, b"\0") + struct.pack(">III", 0xF6D6, 0x10000, 0xD32D)
    return head.ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def xyz(x: float, y: float, z: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">iii", *(round(value * 65536) for value in (x, y, z)))


def gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


SRGB_PRIMARIES = ((0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7141))


def rgb_profile(order: tuple[int, int, int] = (0, 1, 2), power: float = 2.2) -> bytes:
    """sRGB's primaries in another order: a profile that turns channels."""
    colours = {name: xyz(*SRGB_PRIMARIES[at]) for name, at in zip((b"rXYZ", b"gXYZ", b"bXYZ"), order, strict=True)}
    curves = {name: gamma(power) for name in (b"rTRC", b"gTRC", b"bTRC")}
    return profile(b"RGB ", {b"wtpt": xyz(0.9642, 1.0, 0.8249), **colours, **curves})


def difference(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one).astype(int) - np.asarray(other)).mean())


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF"])
def test_channels_that_a_profile_turns_are_turned_back(format: str) -> None:
    original = photo(320, 240)
    red, green, blue = original.split()
    turned = Image.merge("RGB", (green, blue, red))
    options = {"quality": 95} if format in ("JPEG", "WEBP", "AVIF", "HEIF") else {}
    plain = DECODER.decode(saved(original, format, **options))
    decoded = DECODER.decode(saved(turned, format, icc_profile=rgb_profile((1, 2, 0)), **options))
    assert difference(decoded, plain) < 6  # gamma 2.2 is not quite sRGB's curve, and chroma is coarser
    assert difference(DECODER.decode(saved(turned, format, **options)), plain) > 20


def test_profiles_in_a_large_jpeg_that_is_decoded_at_a_fraction() -> None:
    original = photo(2400, 1800)
    red, green, blue = original.split()
    data = saved(Image.merge("RGB", (green, blue, red)), "JPEG", quality=90, icc_profile=rgb_profile((1, 2, 0)))
    decoded = DECODER.decode(data)
    assert max(decoded.size) < 400
    assert difference(decoded, DECODER.decode(saved(original, "JPEG", quality=90))) < 6


def test_a_palette_and_transparency_with_a_profile() -> None:
    rgba = photo(120, 90).convert("RGBA")
    rgba.putalpha(Image.linear_gradient("L").resize((120, 90)))
    turned = Image.merge("RGBA", [rgba.getchannel(band) for band in "GBRA"])
    decoded = DECODER.decode(saved(turned, "PNG", icc_profile=rgb_profile((1, 2, 0))))
    assert difference(decoded, DECODER.decode(saved(rgba, "PNG"))) < 4
    palette = photo(120, 90).quantize(64)
    entries = np.asarray(palette.getpalette()).reshape(-1, 3)
    other = palette.copy()
    other.putpalette(entries[:, [1, 2, 0]].ravel().tolist())
    decoded = DECODER.decode(saved(other, "PNG", icc_profile=rgb_profile((1, 2, 0))))
    assert difference(decoded, DECODER.decode(saved(palette, "PNG"))) < 4


def test_a_grey_profile() -> None:
    grey = photo().convert("L")
    dark = profile(b"GRAY", {b"wtpt": xyz(0.9642, 1.0, 0.8249), b"kTRC": gamma(4.0)})
    plain, decoded = (np.asarray(DECODER.decode(saved(grey, "PNG", **it))).mean() for it in ({}, {"icc_profile": dark}))
    assert decoded < plain - 20


def cmyk_profile() -> bytes:
    """A small device: K alone decides, from white to black; a lookup of two points for each ink."""
    lab = b""
    for corner in range(16):
        light = 0 if corner & 1 else 255
        lab += bytes((light, 128, 128))
    linear = bytes(range(256))
    head = struct.pack(">4sIBBBB", b"mft1", 0, 4, 3, 2, 0) + struct.pack(
        ">9i", *(65536 if n % 4 == 0 else 0 for n in range(9))
    )
    return profile(
        b"CMYK", {b"wtpt": xyz(0.9642, 1.0, 0.8249), b"A2B0": head + linear * 4 + lab + linear * 3}, b"prtr", b"Lab "
    )


@pytest.mark.parametrize("format", ["TIFF", "JPEG"])
def test_a_cmyk_profile(format: str) -> None:
    """Ink that the profile calls invisible is so: by Pillow's own conversion it would be red."""
    ramp = Image.linear_gradient("L").resize((96, 80))
    none, full = Image.new("L", ramp.size, 0), Image.new("L", ramp.size, 255)
    image = Image.merge("CMYK", (none, full, full, ramp))
    decoded = np.asarray(DECODER.decode(saved(image, format, icc_profile=cmyk_profile()))).astype(int)
    assert np.abs(decoded[..., 0] - decoded[..., 2]).max() <= 12
    assert decoded[2].mean() > 200
    assert decoded[-3].mean() < 40
    plain = np.asarray(DECODER.decode(saved(image, format))).astype(int)
    assert (plain[2, :, 0] - plain[2, :, 2]).min() > 150


def test_adobes_cmyk_is_stored_inverted() -> None:
    image = Image.new("CMYK", (80, 60), (0, 255, 255, 0))
    image.paste((255, 0, 0, 0), (40, 0, 80, 60))
    data = saved(image, "JPEG", quality=95)
    assert b"Adobe" in data[:200]
    left, right = (DECODER.decode(data).getpixel((x, 30)) for x in (10, 70))
    assert left[0] > 200 > 60 > left[2]
    assert right[2] > 200 > 60 > right[0]


def test_lab_without_a_profile() -> None:
    lab = Image.merge("LAB", [Image.linear_gradient("L").resize((80, 80)), *[Image.new("L", (80, 80), 128)] * 2])
    decoded = np.asarray(DECODER.decode(saved(lab, "TIFF"))).astype(int)
    assert np.ptp(decoded, axis=2).max() <= 8
    assert decoded[-2].mean() > 230 > 30 > decoded[1].mean()


BROKEN = {
    "empty": b"\0",
    "text": b"no profile at all" * 20,
    "cut": rgb_profile((1, 2, 0))[:200],
    "of CMYK": cmyk_profile(),
    "of grey": profile(b"GRAY", {b"wtpt": xyz(0.9642, 1.0, 0.8249), b"kTRC": gamma(4.0)}),
    "of another use": rgb_profile((1, 2, 0))[:12] + b"link" + rgb_profile((1, 2, 0))[16:],
    "without colours": profile(b"RGB ", {b"wtpt": xyz(0.9642, 1.0, 0.8249)}),
    "all black": profile(
        b"RGB ",
        {b"wtpt": xyz(0.9642, 1, 0.8249)}
        | {name: xyz(0, 0, 0) for name in (b"rXYZ", b"gXYZ", b"bXYZ")}
        | {name: gamma(2.2) for name in (b"rTRC", b"gTRC", b"bTRC")},
    ),
    "huge": rgb_profile((1, 2, 0)) + bytes(5_000_000),
}


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("kind", BROKEN)
def test_a_profile_that_is_broken_huge_or_of_other_colours_is_ignored(kind: str, format: str) -> None:
    data = saved(photo(), format, icc_profile=BROKEN[kind])
    assert DECODER.decode(data).tobytes() == DECODER.decode(saved(photo(), format)).tobytes()


@given(place=st.integers(0, 400), value=st.integers(0, 255))
def test_any_change_to_a_profile_is_survived(place: int, value: int) -> None:
    changed = bytearray(rgb_profile((1, 2, 0)))
    changed[place % len(changed)] = value
    assert profiles.in_srgb(photo(16, 16), bytes(changed)).mode == "RGB"


@pytest.mark.parametrize("icc", [SRGB, rgb_profile((0, 1, 2), 2.2)])
def test_a_profile_that_changes_next_to_nothing_costs_nothing(icc: bytes) -> None:
    image = photo(64, 48)
    if icc == SRGB:
        assert profiles.in_srgb(image, icc) is image
    assert difference(profiles.in_srgb(image, icc), image) < 3


def test_transforms_are_kept_and_few_of_them() -> None:
    image = photo(16, 16)
    for step in range(40):
        profiles.in_srgb(image, rgb_profile((1, 2, 0), 1.0 + step / 20))
    assert len(profiles._transforms._kept) <= 16
    first = profiles._transforms.get("RGB", rgb_profile((1, 2, 0)))
    assert first is not None
    assert profiles._transforms.get("RGB", rgb_profile((1, 2, 0))) is first


def test_a_profile_in_several_segments_of_a_jpeg() -> None:
    icc = rgb_profile((1, 2, 0)) + bytes(150_000)
    data = saved(photo(), "JPEG", icc_profile=icc)
    assert data.count(b"ICC_PROFILE\0") == 3
    with Image.open(BytesIO(data)) as opened:
        assert opened.info["icc_profile"] == icc
    assert difference(DECODER.decode(data), DECODER.decode(saved(photo(), "JPEG"))) > 20


def test_cases_look_as_their_controls() -> None:
    names = ("icc_none_parrot.jpg", "icc_prophoto_parrot.jpg")
    paths = [case(dict(os.environ), f"06-icc-ignored/{name}") for name in names]
    if None in paths:
        pytest.skip("no cases beside the test data")
    decoded = [DECODER.decode(path.read_bytes()) for path in paths if path is not None]
    assert all(difference(one, other) < 8 for one, other in pairwise(decoded))
