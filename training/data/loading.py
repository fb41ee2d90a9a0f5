"""Load examples as batches of pixels, in this process or in several that decode ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from app_tier.models.networks import Network
from app_tier.taggers import Frame
from app_tier.taggers.imagenet import to_frame
from core.errors import BadImage, DataInvalid
from core.imaging.decode import DecodeBudget, Decoder
from training.data.examples import Example

DECODE_MB = 1000
"""A photo that needs more memory to decode counts as unreadable."""

Pixels = Callable[[int, int], Frame]
"""From the position of an example and a seed for its augmentation to the network's input.

Raises BadImage.
"""


@dataclass(frozen=True, slots=True)
class Draw:
    """The position of an example, and the seed of its augmentation."""

    index: int
    turn: int = 0


@dataclass(frozen=True, slots=True)
class Batch:
    """`pixels` (N, H, W, 3) uint8, `truth` (N, C) float of 0 and 1, and unreadable photos as `PATH: reason`."""

    pixels: Tensor
    truth: Tensor
    problems: tuple[str, ...]

    def to(self, device: torch.device) -> Batch:
        """Return the batch on another device."""
        return Batch(self.pixels.to(device, non_blocking=True), self.truth.to(device, non_blocking=True), self.problems)


def load_batches(
    examples: Sequence[Example],
    classes: int,
    draws: Sequence[Sequence[Draw]],
    pixels: Pixels,
    *,
    replace: bool = False,
    workers: int = 0,
) -> Iterator[Batch]:
    """Yield one batch for each sequence of draws, decoded by `workers` processes; 0 decodes here.

    An unreadable photo is left out. With `replace` the next readable example takes its place, so that batches keep
    their size. Raises DataInvalid if no example is readable.
    """
    photos = _Photos(examples, classes, pixels, tries=len(examples) if replace else 1)
    loader = DataLoader(
        photos,
        batch_sampler=[list(some) for some in draws],
        num_workers=workers,
        collate_fn=_collate,
        pin_memory=torch.cuda.is_available(),
    )
    for batch in loader:
        if replace and not len(batch.pixels):
            raise DataInvalid(f"none of the {len(examples)} images can be read: {batch.problems[0]}")
        yield batch


def draw_in_order(count: int, size: int) -> list[list[Draw]]:
    """Draw each example once, in order."""
    return [[Draw(index) for index in range(start, min(start + size, count))] for start in range(0, count, size)]


def make_decoder(side: int) -> Callable[[Path], Image.Image]:
    """Read a file as a worker would, with its shorter side at least `side`. Raises BadImage for any problem."""

    def decode(path: Path) -> Image.Image:
        try:
            return Decoder(side, DecodeBudget(DECODE_MB)).show(path.read_bytes())
        except OSError as error:
            raise BadImage(error.strerror or str(error)) from None

    return decode


def crop_as_served(examples: Sequence[Example], network: Network) -> Pixels:
    """Return photos cropped as the serving tagger does it, without any randomness."""
    decode = make_decoder(network.resize)
    return lambda index, _: to_frame(decode(examples[index].path), network)


@dataclass(frozen=True, slots=True)
class _Photo:
    pixels: Frame | None
    truth: npt.NDArray[np.float32]
    problems: tuple[str, ...]


class _Photos(Dataset[_Photo]):
    def __init__(self, examples: Sequence[Example], classes: int, pixels: Pixels, tries: int) -> None:
        self._examples = examples
        self._classes = classes
        self._pixels = pixels
        self._tries = tries

    def __getitem__(self, draw: Draw) -> _Photo:
        problems: list[str] = []
        for attempt in range(self._tries):
            index = (draw.index + attempt) % len(self._examples)
            try:
                return _Photo(self._pixels(index, draw.turn), self._truth(index), tuple(problems))
            except BadImage as error:
                problems.append(f"{self._examples[index].path}: {error}")
        return _Photo(None, self._truth(draw.index), tuple(problems))

    def _truth(self, index: int) -> npt.NDArray[np.float32]:
        truth = np.zeros(self._classes, np.float32)
        truth[list(self._examples[index].labels)] = 1
        return truth


def _collate(photos: Sequence[_Photo]) -> Batch:
    read = [(photo.pixels, photo.truth) for photo in photos if photo.pixels is not None]
    problems = tuple(problem for photo in photos for problem in photo.problems)
    if not read:
        return Batch(torch.empty(0, 0, 0, 3, dtype=torch.uint8), torch.empty(0, len(photos[0].truth)), problems)
    pixels, truth = zip(*read, strict=True)
    return Batch(torch.from_numpy(np.stack(pixels)), torch.from_numpy(np.stack(truth)), problems)
