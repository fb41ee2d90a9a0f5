"""A tagger turns an image into pixels for an engine, and the engine's outputs into tags.

Every family of taggers is a module with a function `choose(request) -> TaggerHandle`: it finds the weights, and
returns a handle that loads the tagger. `worker/selection.py` picks the family.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from PIL import Image

from app_tier.engines import AnyFrame, DeviceFrame, Outputs, Pixels
from core.domain.messages import Feedback, Tag, TagOptions
from core.imaging.plain_jpeg import PlainJpeg

Frame = npt.NDArray[np.uint8]
"""One image as its engine takes it: (height, width, 3), RGB, 0..255."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """A tagger's output for one image. Tags come with the most confident first."""

    tags: tuple[Tag, ...] = ()
    caption: str | None = None


class Tagger(Protocol):
    """Tags images. The pipeline decodes and preprocesses in several threads, and calls `infer` in one."""

    name: str
    engine_name: str
    """The engine it runs on, for people: `openvino bf16`."""
    side: int
    """The least length, in pixels, of the shorter side of the images that `preprocess` takes."""
    shape: tuple[int, int, int]
    """The shape of a frame."""

    @property
    def most_at_once(self) -> int | None:
        """The most images in one call of `infer`. None: as many as the settings say."""

    @property
    def best_batch(self) -> int:
        """The number of images in one call of `infer` at which its engine is fastest on this machine."""

    @property
    def version(self) -> str:
        """Identifies the exact weights: two workers of one version give one image the same tags."""

    @property
    def labels(self) -> Sequence[str]:
        """The tags that it can give."""

    def preprocess(self, image: Image.Image) -> Frame:
        """Crop and scale an RGB image to a frame of `shape`. Called by several threads."""

    def infer(self, frames: Pixels, options: Sequence[TagOptions]) -> list[Prediction]:
        """Tag each frame of an (N, height, width, 3) batch. One thread at a time."""


@dataclass(frozen=True, slots=True)
class PendingTags:
    """A batch that a tagger has taken."""

    outputs: Callable[[], Outputs]
    """Waits for the engine, which then takes another batch. Has to be called, once; raises what `infer` raises."""
    predict: Callable[[Outputs], list[Prediction]]
    """Makes the predictions from the outputs, also while the engine computes another batch."""

    def result(self) -> list[Prediction]:
        """Wait for the predictions. Called in place of the two functions."""
        return self.predict(self.outputs())


@runtime_checkable
class DeviceTagger(Protocol):
    """The further methods of a `Tagger` whose engine may have a device of its own."""

    @property
    def under_way(self) -> int:
        """How many batches it takes before the first must be collected. 1: `submit` computes, as `infer` does."""

    @property
    def decodes_jpegs(self) -> bool:
        """Whether `decode` takes plain JPEGs."""

    def decode(self, jpegs: Sequence[PlainJpeg]) -> list[DeviceFrame | None]:
        """Make frames on the device. None for files that it refuses: they need `preprocess`."""

    def submit(self, frames: Sequence[AnyFrame], options: Sequence[TagOptions]) -> PendingTags:
        """Start to tag frames. Called by one thread; results are taken by another, in the same order."""


@dataclass(frozen=True, slots=True)
class FeedbackItem:
    """People's feedback on an image, and the image's frame.

    The frame is None where the tagger still has the image's features, or where people took all their feedback back.
    """

    feedback: Feedback
    frame: Frame | None = None


@runtime_checkable
class Learner(Protocol):
    """The further methods of a `Tagger` that learns from people."""

    def has_features_of(self, image_id: str) -> bool:
        """Return whether it can learn from feedback on this image without its frame. Raises Unavailable."""

    def learn(self, items: Sequence[FeedbackItem]) -> None:
        """Learn from the items that are new. What was learned is stored when this returns.

        One thread at a time, which may be another than the one that calls `infer`. Raises WeightsInvalid where the
        stored state is damaged, and Unavailable; then nothing was learned.
        """


@dataclass(frozen=True, slots=True)
class TaggerHandle:
    """A tagger whose weights were found, ready to be loaded."""

    name: str
    load: Callable[[], Tagger]
    """Loads the tagger, runs it once, and checks its outputs. Raises WeightsInvalid if they are wrong."""
    current: Callable[[], bool] = lambda: True
    """Returns whether it would be chosen again: False once the registry has another version. Raises Unavailable."""
    content: Callable[[], str] = lambda: ""
    """Returns a string that changes when any of its files is put into the store again. Raises Unavailable."""
    notice: str = ""
    """Why it is not the requested tagger, for people."""
