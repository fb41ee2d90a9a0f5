"""Single-label classifiers trained on ImageNet: the top-k labels, or the fewest that together are likely enough."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from app_tier.engines import AnyFrame, Engines, Outputs, Pixels, Rows, submit
from app_tier.engines.settling import NearTies
from app_tier.models.frames import to_frame as to_frame  # part of this module's interface
from app_tier.models.networks import Network
from app_tier.taggers import Frame, PendingTags, Prediction
from app_tier.taggers.on_device import OnDevice
from core.domain.messages import Tag, TagOptions

_ROUNDING = 1e-6
"""How much the sum of all probabilities in fp32 may fall short of 1."""


class ImageNetTagger(OnDevice):
    """Applies a softmax over the labels: one label is right. Near-ties are settled."""

    def __init__(self, network: Network, weights_hash: str, engines: Engines, defaults: TagOptions) -> None:
        self.name = network.name
        self.version = f"{network.name}@{weights_hash[:8]}"
        self.labels: Sequence[str] = network.label_names
        self.side = network.resize
        self.shape = (network.crop, network.crop, 3)
        self._engine = engines.fast
        self._near_ties = NearTies(engines)
        self.engine_name = self._near_ties.engine_name
        self._network = network
        self._defaults = defaults

    def preprocess(self, image: Image.Image) -> Frame:
        """Scale the image and crop its centre."""
        return to_frame(image, self._network)

    def infer(self, frames: Pixels, options: Sequence[TagOptions]) -> list[Prediction]:
        """Return each frame's most likely labels."""
        return self._predict(frames, self._engine.infer(frames), options)

    def submit(self, frames: Sequence[AnyFrame], options: Sequence[TagOptions]) -> PendingTags:
        """Start a forward pass. Near-ties are settled when the predictions are made."""
        pending = submit(self._engine, frames)
        return PendingTags(pending.result, lambda outputs: self._predict(pending.frames, outputs, options))

    def _predict(self, frames: Rows, outputs: Outputs, options: Sequence[TagOptions]) -> list[Prediction]:
        outputs = self._near_ties.settle(frames, outputs)
        probabilities = softmax(outputs / np.float32(self._network.temperature))
        return [Prediction(self._choose_tags(row, asked)) for row, asked in zip(probabilities, options, strict=True)]

    def _choose_tags(self, probabilities: Outputs, asked: TagOptions) -> tuple[Tag, ...]:
        chosen = most_likely(
            probabilities,
            top_k=asked.top_k or self._defaults.top_k,
            min_confidence=_either(asked.min_confidence, self._defaults.min_confidence) or 0.0,
            cumulative=_either(asked.cumulative, self._defaults.cumulative) or 0.0,
        )
        return tuple(Tag(name=self.labels[index], confidence=round(float(probabilities[index]), 4)) for index in chosen)


def most_likely(
    probabilities: Outputs, *, top_k: int | None, min_confidence: float, cumulative: float
) -> npt.NDArray[np.intp]:
    """Return the indices of the `top_k` highest of (labels,) probabilities (None: all), the highest first.

    If `cumulative` is not 0, only the fewest that together reach it are kept. None is below `min_confidence`.
    """
    k = min(top_k or len(probabilities), len(probabilities))
    best = np.argpartition(probabilities, -k)[-k:]
    best = best[np.argsort(-probabilities[best], kind="stable")]
    if cumulative:
        reached = np.cumsum(probabilities[best], dtype=np.float64) >= cumulative - _ROUNDING
        best = best[: int(reached.argmax()) + 1] if reached.any() else best
    chosen: npt.NDArray[np.intp] = best[probabilities[best] >= min_confidence]
    return chosen


def _either(asked: float | None, default: float | None) -> float | None:
    return default if asked is None else asked


def softmax(outputs: Outputs) -> Outputs:
    """Return the softmax along the last axis. The maximum is subtracted first, so that nothing overflows."""
    powers: Outputs = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
    powers /= powers.sum(axis=-1, keepdims=True)
    return powers
