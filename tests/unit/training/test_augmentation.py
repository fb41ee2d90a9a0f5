from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from tests.unit.training.sources import pictures
from training.data.augmentation import Augmented, Strength
from training.data.examples import Dataset
from training.data.reading import read
from training.data.splits import Splits, split


@pytest.fixture
def splits(tmp_path) -> Splits:
    pictures(tmp_path, *(f"{name}/{number}.png" for name in ("cat", "dog") for number in range(4)))
    return split(read(tmp_path), (50, 25, 25))


def view(data: Dataset, **strength: float) -> Augmented:
    return Augmented(data, lambda path: Image.open(path).convert("RGB"), 16, seed=5, strength=Strength(**strength))


def test_only_the_training_part_can_be_augmented(splits):
    assert len(view(splits.train)) == len(splits.train.examples)
    for part in (splits.validation, splits.test):
        with pytest.raises(TypeError, match="only the training part"):
            view(part)


def test_what_comes_of_an_image_depends_on_seed_epoch_and_position_alone(splits):
    first, second = view(splits.train), view(splits.train)
    wanted = first.pixels(1, epoch=3)
    second.pixels(0, epoch=0)
    torch.manual_seed(99)
    assert np.array_equal(second.pixels(1, epoch=3), wanted)
    assert (wanted.shape, wanted.dtype) == ((16, 16, 3), np.uint8)
    assert not np.array_equal(first.pixels(1, epoch=4), wanted)


def test_nothing_else_s_chance_is_touched(splits):
    torch.manual_seed(1)
    wanted = torch.rand(3)
    torch.manual_seed(1)
    view(splits.train).pixels(0, epoch=0)
    assert torch.equal(torch.rand(3), wanted)


def test_what_may_not_be_mirrored_is_not(splits):
    plain = {"smallest_cut": 1.0, "degrees": 0.0, "operations": 0}
    never, always = view(splits.train, mirror=0.0, **plain), view(splits.train, mirror=1.0, **plain)
    for epoch in range(3):
        assert np.array_equal(always.pixels(0, epoch), never.pixels(0, epoch)[:, ::-1])
