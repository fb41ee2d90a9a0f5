"""A tagger says what is computed: it turns images into pixels for an engine, and the engine's outputs into tags."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from app_tier.engines import Pixels
from config.settings import PoolSettings, Settings
from core.domain.messages import Feedback, Tag, TagOptions
from core.storage.ports import ObjectStore

Frame = npt.NDArray[np.uint8]
"""One image as the engine wants it: (height, width, 3), RGB, 0..255."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a tagger says of one image; tags most confident first."""

    tags: tuple[Tag, ...] = ()
    caption: str | None = None


class Tagger(Protocol):
    name: str
    engine_name: str
    """What it runs on, for people: `openvino bf16`."""
    side: int
    """The shorter side, in pixels, of the images that `preprocess` wants at least."""
    shape: tuple[int, int, int]
    """Of a frame."""
    most_at_once: int | None
    """Images that `infer` is to be given together at most; None: as the settings say."""

    @property
    def version(self) -> str:
        """Names the exact weights: two workers of one version give one image the same tags."""

    @property
    def labels(self) -> Sequence[str]:
        """The tags that it can give."""

    def preprocess(self, image: Image.Image) -> Frame:
        """Cut and scale an RGB image to a frame of `shape`. Called by several threads."""

    def infer(self, frames: Pixels, options: Sequence[TagOptions]) -> list[Prediction]:
        """What is seen in each frame of an (N, height, width, 3) batch. One thread at a time."""


@dataclass(frozen=True, slots=True)
class Lesson:
    """What people say of an image, and the image, or None where the tagger remembers it or nothing is said any more."""

    feedback: Feedback
    frame: Frame | None = None


@runtime_checkable
class Learner(Protocol):
    """What a `Tagger` is beside that if it learns from people."""

    def remembers(self, image_id: str) -> bool:
        """Whether it can learn of this image without seeing it again. Raises Unavailable."""

    def learn(self, lessons: Sequence[Lesson]) -> None:
        """Take in what is new of them; it is safe when this returns. One thread at a time, which may be another one
        than `infer` is called by.

        Raises WeightsInvalid where what was learned before is damaged, Unavailable; then nothing was learned.
        """


Progress = Callable[[int, int], None]
"""Called with bytes so far and bytes in all (0 where unknown)."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A tagger that is asked for by `name`, for a pool. `download` allows weights to be fetched from the internet."""

    name: str
    pool: PoolSettings
    settings: Settings
    store: ObjectStore
    download: Progress | None = None


@dataclass(frozen=True, slots=True)
class Choice:
    """A tagger whose weights are at hand. `notice` says, for people, why it is not the wanted one."""

    name: str
    load: Callable[[], Tagger]
    """Brings it to life, warmed and checked. Raises WeightsInvalid if it does not compute what it should."""
    current: Callable[[], bool] = lambda: True
    """Whether it would still be chosen: False once the registry has another version of it. Raises Unavailable."""
    content: Callable[[], str] = lambda: ""
    """Another one once anything of it was put into the store again. Raises Unavailable."""
    notice: str = ""
