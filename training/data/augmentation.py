"""Augment training images: a new crop, rotation, mirroring and colour each time.

Only the training part of a split can be augmented, by its own positions. So no image that measures anything is ever
changed, and no changed copy ends up in another part. The network itself normalises by mean and deviation
(`app_tier.engines.modules.PixelNetwork`), as it does in the worker.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torchvision.transforms import InterpolationMode, v2

from training.data.examples import TrainingSet

_GREY = (124, 116, 104)
"""Fills the corners that a rotation leaves: ImageNet's mean, which is 0 to a network."""


@dataclass(frozen=True, slots=True)
class Strength:
    """How far an image may be changed."""

    smallest_cut: float = 0.35
    """Smallest share of the image's area; less would often cut off what the labels name."""
    mirror: float = 0.5
    """Probability of mirroring. 0 where left and right matter, as in text."""
    degrees: float = 10.0
    """Largest rotation to either side."""
    operations: int = 2
    """Number of RandAugment's operations (Cubuk et al. 2019), one after the other; 0: none."""
    magnitude: int = 7
    """RandAugment's magnitude, 0..30."""


class Augmented:
    """A view of the training part of a split.

    `decode` reads one file as RGB, with its shorter side at least `size` where the file has as many pixels. An image's
    result depends only on seed, epoch and position, so every process gets the same one, in any order. Not safe for
    threads: torch's transforms draw from the generator of the whole process.
    """

    def __init__(
        self,
        training: TrainingSet,
        decode: Callable[[Path], Image.Image],
        size: int,
        seed: int,
        strength: Strength = Strength(),
    ) -> None:
        if not isinstance(training, TrainingSet):
            raise TypeError(f"only the training part of a split is augmented, not {training!r:.80}")
        self.training = training
        self._decode = decode
        self._seed = seed
        self._change = _build_transforms(size, strength)

    def __len__(self) -> int:
        return len(self.training.examples)

    def pixels(self, position: int, epoch: int) -> NDArray[np.uint8]:
        """Return the example at `position`, augmented, (size, size, 3). Raises BadImage."""
        image = self._decode(self.training.examples[position].path)
        drawn = np.random.SeedSequence((self._seed, epoch, position)).generate_state(1, np.uint64)[0]
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(drawn) >> 1)
            return np.asarray(self._change(image), np.uint8)


def _build_transforms(size: int, strength: Strength) -> v2.Compose:
    """All transforms draw from torch's CPU generator."""
    bilinear = InterpolationMode.BILINEAR
    steps = [
        v2.RandomResizedCrop(size, (strength.smallest_cut, 1.0), interpolation=InterpolationMode.BICUBIC),
        v2.RandomHorizontalFlip(strength.mirror),
        v2.RandomRotation(strength.degrees, bilinear, fill=_GREY),
    ]
    if strength.operations:
        steps.append(v2.RandAugment(strength.operations, strength.magnitude, interpolation=bilinear, fill=_GREY))
    return v2.Compose(steps)
