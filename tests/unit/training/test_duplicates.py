from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageEnhance, ImageOps

from core.errors import BadImage
from core.imaging.decode import DecodeBudget, Decoder
from tests.unit.training.sources import picture
from training.data import fingerprints
from training.data.duplicates import DISTANCE, Copies, find_copies, group_copies
from training.data.examples import Dataset, Example
from training.data.fingerprints import Fingerprint

DECODER = Decoder(32, DecodeBudget(100))


def print_of(image: Image.Image, **how: object) -> Fingerprint:
    out = BytesIO()
    image.save(out, **({"format": "BMP"} | how))
    return fingerprints.fingerprint_bytes(out.getvalue(), DECODER)


def made_up(hashes: list[int], mirrors: list[int] | None = None) -> dict[Path, Fingerprint]:
    """Return fingerprints with these hashes; by default, no mirrored hash is near any of them."""
    return {
        Path(f"{number}"): Fingerprint(f"{number}", value, mirrors[number] if mirrors else value ^ (2**64 - 1), (1, 1))
        for number, value in enumerate(hashes)
    }


@pytest.mark.parametrize(
    "changed",
    [
        lambda image: print_of(image, format="JPEG", quality=40),
        lambda image: print_of(image.resize((150, 90)), format="WEBP"),
        lambda image: print_of(ImageEnhance.Brightness(image).enhance(0.8)),
        lambda image: print_of(image.convert("L")),
        lambda image: print_of(ImageOps.mirror(image), format="JPEG"),
    ],
    ids=["format", "size", "brightness", "grey", "mirror"],
)
def test_a_copy_is_near_and_another_picture_is_not(changed):
    for seed in range(5):
        original = print_of(picture(seed))
        other = changed(picture(seed))
        assert [pair.second for pair in find_copies({Path("a"): original, Path("b"): other})] == [Path("b")]
        assert not find_copies({Path("a"): original, Path("b"): changed(picture(seed + 100))})


def test_a_mirrored_copy_is_called_so():
    [pair] = find_copies({Path("a"): print_of(picture(1)), Path("b"): print_of(ImageOps.mirror(picture(1)))})
    assert pair.mirrored
    assert str(pair).endswith("of 64 bits apart, mirrored")


def test_a_picture_turned_by_its_exif_orientation_is_the_same_picture():
    exif = Image.Exif()
    exif[0x0112] = 3
    turned = print_of(picture(1).transpose(Image.Transpose.ROTATE_180), format="PNG", exif=exif)
    assert find_copies({Path("a"): print_of(picture(1)), Path("b"): turned})


hashes = st.integers(0, 2**64 - 1)


@given(hashes, st.sets(st.integers(0, 63), max_size=DISTANCE), st.lists(hashes, max_size=20))
def test_every_pair_within_the_distance_hangs_together(value, bits, others):
    near = value
    for bit in bits:
        near ^= 1 << bit
    prints = made_up([value, *others, near])
    same = Dataset("", ("a",), tuple(Example(path, frozenset(), str(path)) for path in prints))
    groups = {str(one.path): one.group for one in group_copies(same, find_copies(prints)).examples}
    assert groups["0"] == groups[str(len(others) + 1)]


@given(st.lists(hashes, max_size=30))
def test_what_hangs_together_does_so_by_near_pairs_and_no_pair_is_too_many(values):
    found = find_copies(made_up(values))
    for pair in found:
        apart = values[int(str(pair.first))] ^ values[int(str(pair.second))]
        seen = (2**64 - 1) if pair.mirrored else 0
        assert pair.distance == (apart ^ seen).bit_count() <= DISTANCE
    trees = {path: {path} for path in made_up(values)}
    for pair in found:
        assert trees[pair.first] is not trees[pair.second]
        trees[pair.first] |= trees[pair.second]
        for path in trees[pair.first]:
            trees[path] = trees[pair.first]


def test_a_film_of_thousands_of_frames():
    random = np.random.default_rng(1)
    scenes = random.integers(0, 2**63, 4)
    frames = [int(scenes[number % 4]) ^ (1 << int(random.integers(0, 63))) for number in range(4000)]
    assert len(find_copies(made_up(frames))) == 4000 - 4


def test_files_that_are_the_same():
    one = print_of(picture(1))
    assert find_copies({Path("a"): one, Path("b"): one, Path("c"): one}) == [
        Copies(Path("a"), Path("b"), None),
        Copies(Path("a"), Path("c"), None),
    ]


def test_groups_that_share_a_copy_become_one():
    paths = [Path(name) for name in "abcde"]
    data = Dataset(
        "", ("x",), tuple(Example(path, frozenset(), group) for path, group in zip(paths, "11223", strict=True))
    )
    found = [Copies(Path("b"), Path("c"), 0)]
    assert [one.group for one in group_copies(data, found).examples] == ["1", "1", "1", "1", "3"]


def test_an_image_that_cannot_be_read_is_said_and_copies_nothing(tmp_path):
    picture(1).save(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:200])
    done: list[int] = []
    found = fingerprints.compute_fingerprints(
        [tmp_path / "a.png", tmp_path / "b.png", tmp_path / "c.png"], progress=done.append
    )
    assert [isinstance(one, BadImage) for one in found.values()] == [False, True, True]
    assert done == [1, 2, 3]
    assert not find_copies(found)


def test_real_photos_are_not_taken_for_each_other(data):
    photos = sorted((data / "coco" / "images").iterdir())
    assert not find_copies(fingerprints.compute_fingerprints(photos))


def cut(image: Image.Image, share: float) -> Image.Image:
    """Crop the middle, `share` of each side, and enlarge it to the old size."""
    width, height = image.size
    left, top = width * (1 - share) / 2, height * (1 - share) / 2
    return image.resize(image.size, Image.Resampling.BICUBIC, (left, top, width - left, height - top))


@pytest.mark.long
@pytest.mark.parametrize(
    ("changed", "found"),
    [
        (lambda image: print_of(image, format="JPEG", quality=30), 64),
        (lambda image: print_of(image.resize((image.width // 2, image.height // 2)), format="WEBP"), 64),
        (lambda image: print_of(image.resize((224, 224))), 63),
        (lambda image: print_of(ImageOps.mirror(image), format="JPEG"), 64),
        (lambda image: print_of(ImageEnhance.Brightness(image).enhance(1.3), format="JPEG"), 63),
        (lambda image: print_of(ImageEnhance.Contrast(image).enhance(0.6), format="JPEG"), 64),
        (lambda image: print_of(image.convert("L"), format="JPEG"), 64),
        (lambda image: print_of(cut(image, 0.98)), 64),
        (lambda image: print_of(cut(image, 0.9)), 13),
        (lambda image: print_of(image.rotate(3)), 26),
        (lambda image: print_of(image.rotate(10)), 0),
    ],
    ids=["jpeg 30", "half", "square", "mirror", "bright", "flat", "grey", "cut 0.98", "cut 0.9", "turn 3", "turn 10"],
)
def test_how_many_of_64_photos_are_recognised(data, changed, found):
    """Measures the table in docs/training.md."""
    photos = [Image.open(path).convert("RGB") for path in sorted((data / "coco" / "images").iterdir())]
    pairs = [find_copies({Path("a"): print_of(image), Path("b"): changed(image)}) for image in photos]
    assert len(list(filter(None, pairs))) == found


@pytest.mark.long
def test_a_hundred_thousand_hashes_are_compared_within_a_minute():
    random = np.random.default_rng(1)
    values = [int(value) for value in random.integers(0, 2**64, 100_000, dtype=np.uint64)]
    planted = [values[number] ^ 0b1010101 << number % 50 for number in range(100)]
    found = find_copies(made_up([*values, *planted], [0] * 100_100))
    assert sum(int(str(pair.second)) >= 100_000 for pair in found) >= 100
