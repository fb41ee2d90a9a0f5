"""A tagger that costs nothing, one that costs a device's time, and a decode stage that decodes nothing.

With them, what is measured is the pipeline's own work.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import cast

import numpy as np
from PIL import Image

from app_tier.engines import AnyFrame, DeviceFrame, Outputs, Pixels
from app_tier.pipeline.decoding import Decoding
from app_tier.pipeline.item import WorkItem
from app_tier.taggers import Frame, PendingTags, Prediction
from core.domain.messages import Tag, TagOptions
from core.imaging.plain_jpeg import PlainJpeg

_SIDE = 224
_FRAME: Frame = np.zeros((_SIDE, _SIDE, 3), dtype=np.uint8)
_TAGS = tuple(Tag(name=f"label {number}", confidence=0.9 - number / 10) for number in range(5))


class FreeTagger:
    """Gives every image the same five tags."""

    name = "free"
    engine_name = "none"
    side = _SIDE
    shape = (_SIDE, _SIDE, 3)
    most_at_once: int | None = None
    version = "free@1"
    labels: Sequence[str] = tuple(tag.name for tag in _TAGS)

    def __init__(self, best_batch: int = 32) -> None:
        self.best_batch = best_batch

    @property
    def busy_share(self) -> float:
        """The share of the time in which its device is busy, from the first batch's begin to the last one's end."""
        return 0.0

    def restart(self) -> None:
        """Begin to measure the busy share."""

    def preprocess(self, image: Image.Image) -> Frame:
        return np.asarray(image.resize((_SIDE, _SIDE)))

    def infer(self, frames: Pixels, options: Sequence[TagOptions]) -> list[Prediction]:
        return [Prediction(_TAGS)] * len(options)


class SimulatedDevice(FreeTagger):
    """Takes as long as a device of `images_per_s`, which computes a batch while the next is copied to it."""

    under_way = 2
    decodes_jpegs = False

    def __init__(self, images_per_s: float, best_batch: int, clock: Callable[[], float] = time.perf_counter) -> None:
        super().__init__(best_batch)
        self._images_per_s = images_per_s
        self._clock = clock
        self._buffer = np.empty((best_batch, *self.shape), np.uint8)
        self._free_at = 0.0
        self.restart()

    @property
    def busy_share(self) -> float:
        return self._busy_s / (self._free_at - self._first) if self._first is not None else 0.0

    def restart(self) -> None:
        self._busy_s = 0.0
        self._first: float | None = None

    def decode(self, jpegs: Sequence[PlainJpeg]) -> list[DeviceFrame | None]:
        raise AssertionError("this device decodes nothing")

    def submit(self, frames: Sequence[AnyFrame], options: Sequence[TagOptions]) -> PendingTags:
        """Copy the frames, as to pinned memory, and begin once the batch before is done."""
        for place, frame in zip(self._buffer, frames, strict=False):
            np.copyto(place, cast(Frame, frame))
        begin = max(self._clock(), self._free_at)
        took = len(frames) / self._images_per_s
        if self._first is None:
            self._first = begin
        self._busy_s += took
        self._free_at = done_at = begin + took

        def outputs() -> Outputs:
            time.sleep(max(0.0, done_at - self._clock()))
            return _NO_OUTPUTS

        return PendingTags(outputs, lambda _outputs: [Prediction(_TAGS)] * len(options))


_NO_OUTPUTS: Outputs = np.empty((0, 0), np.float32)


class NoDecoding(Decoding):
    """Gives every image the same black frame, whatever its bytes are."""

    def _decode_here(self, item: WorkItem) -> str:
        item.tagger = self._tagger()
        item.frame = _FRAME
        item.size = (_SIDE, _SIDE)
        item.drop_bytes()
        return ""
