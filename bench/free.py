"""A tagger that costs nothing or only time, and a decode stage that decodes nothing.

With both, what is measured is the pipeline's own work.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
from PIL import Image

from app_tier.engines import Pixels
from app_tier.pipeline.decoding import Decoding
from app_tier.pipeline.item import WorkItem
from app_tier.taggers import Frame, Prediction
from core.domain.messages import Tag, TagOptions

_SIDE = 224
_FRAME: Frame = np.zeros((_SIDE, _SIDE, 3), dtype=np.uint8)
_TAGS = tuple(Tag(name=f"label {number}", confidence=0.9 - number / 10) for number in range(5))


class FreeTagger:
    """Gives every image the same five tags. With `images_per_s` it sleeps as long as such a device takes."""

    name = "free"
    engine_name = "none"
    side = _SIDE
    shape = (_SIDE, _SIDE, 3)
    most_at_once: int | None = None
    version = "free@1"
    labels: Sequence[str] = tuple(tag.name for tag in _TAGS)

    def __init__(self, images_per_s: float = 0.0, best_batch: int = 32) -> None:
        self.best_batch = best_batch
        self._images_per_s = images_per_s
        self.restart()

    def restart(self) -> None:
        """Begin to measure the busy share."""
        self._busy_s = 0.0
        self._first: float | None = None
        self._last = 0.0

    @property
    def busy_share(self) -> float:
        """The share of the time from the first batch's beginning to the last one's end that was spent in `infer`."""
        return self._busy_s / (self._last - self._first) if self._first is not None else 0.0

    def preprocess(self, image: Image.Image) -> Frame:
        return np.asarray(image.resize((_SIDE, _SIDE)))

    def infer(self, frames: Pixels, options: Sequence[TagOptions]) -> list[Prediction]:
        started = time.perf_counter()
        if self._images_per_s:
            time.sleep(len(options) / self._images_per_s)
        self._last = time.perf_counter()
        self._busy_s += self._last - started
        if self._first is None:
            self._first = started
        return [Prediction(_TAGS)] * len(options)


class NoDecoding(Decoding):
    """Gives every image the same black frame, whatever its bytes are."""

    def _decode_here(self, item: WorkItem) -> str:
        item.tagger = self._tagger()
        item.frame = _FRAME
        item.size = (_SIDE, _SIDE)
        item.data = b""
        return ""
