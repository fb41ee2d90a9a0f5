"""Single-label classifiers trained on ImageNet: the top-k labels, or as many as together are likely enough."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt
from PIL import Image

from app_tier.engines import Engines, Outputs, Pixels
from app_tier.models.networks import Network
from app_tier.taggers import Frame, Prediction
from core.domain.messages import Tag, TagOptions

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class ImageNetTagger:
    """Softmax over the labels, of which one is right. `engines.exact` is asked for at the first near-tie."""

    most_at_once: int | None = None

    def __init__(self, network: Network, weights_hash: str, engines: Engines, defaults: TagOptions) -> None:
        self.name = network.name
        self.version = f"{network.name}@{weights_hash[:8]}"
        self.labels: Sequence[str] = network.label_names
        self.side = network.resize
        self.shape = (network.crop, network.crop, 3)
        self.engine_name = engines.fast.name
        self._engine = engines.fast
        self._exact = cache(engines.exact) if engines.exact else None
        self._near_tie = engines.near_tie
        self._network = network
        self._defaults = defaults

    def preprocess(self, image: Image.Image) -> Frame:
        return frame(image, self._network)

    def infer(self, frames: Pixels, options: Sequence[TagOptions]) -> list[Prediction]:
        outputs = self._settled(frames, self._engine.infer(frames))
        probabilities = softmax(outputs / np.float32(self._network.temperature))
        return [Prediction(self._tags(row, wanted)) for row, wanted in zip(probabilities, options, strict=True)]

    def _settled(self, frames: Pixels, outputs: Outputs) -> Outputs:
        """The outputs with near-ties between the two highest computed again in fp32."""
        if self._exact is None:
            return outputs
        close = margins(outputs) < self._near_tie
        if close.any():
            outputs[close] = self._exact().infer(frames[close])
        return outputs

    def _tags(self, probabilities: Outputs, wanted: TagOptions) -> tuple[Tag, ...]:
        chosen = most_likely(
            probabilities,
            top_k=wanted.top_k or self._defaults.top_k,
            min_confidence=_either(wanted.min_confidence, self._defaults.min_confidence) or 0.0,
            cumulative=_either(wanted.cumulative, self._defaults.cumulative) or 0.0,
        )
        return tuple(Tag(name=self.labels[index], confidence=round(float(probabilities[index]), 4)) for index in chosen)


def most_likely(
    probabilities: Outputs, *, top_k: int | None, min_confidence: float, cumulative: float
) -> npt.NDArray[np.intp]:
    """Indices of the `top_k` highest of (labels,) probabilities, the highest first; None for all of them.

    Of these as few as together reach `cumulative`, where that is not 0, and none below `min_confidence`.
    """
    k = min(top_k or len(probabilities), len(probabilities))
    best = np.argpartition(probabilities, -k)[-k:]
    best = best[np.argsort(-probabilities[best], kind="stable")]
    if cumulative:
        reached = np.cumsum(probabilities[best], dtype=np.float64) >= cumulative - _ROUNDING
        best = best[: int(reached.argmax()) + 1] if reached.any() else best
    chosen: npt.NDArray[np.intp] = best[probabilities[best] >= min_confidence]
    return chosen


_ROUNDING = 1e-6
"""Of probabilities in fp32: all of them together may come to so much less than 1."""


def margins(outputs: Outputs) -> Outputs:
    """By how much the highest of each row of (N, labels) outputs exceeds the second."""
    highest = np.partition(outputs, -2, axis=1)[:, -2:]
    difference: Outputs = highest[:, 1] - highest[:, 0]
    return difference


def _either(wanted: float | None, default: float | None) -> float | None:
    return default if wanted is None else wanted


def frame(image: Image.Image, network: Network) -> Frame:
    """Resize the shorter side to `network.resize` and cut the centre: one resampling of just the part that is kept."""
    width, height = image.size
    cut = network.crop * min(width, height) / network.resize
    left, top = (width - cut) / 2, (height - cut) / 2
    small = image.resize(
        (network.crop, network.crop), _FILTERS[network.interpolation], box=(left, top, left + cut, top + cut)
    )
    return np.asarray(small)


def softmax(outputs: Outputs) -> Outputs:
    """Along the last axis; the maximum is taken off first, so that nothing overflows."""
    powers: Outputs = np.exp(outputs - outputs.max(axis=-1, keepdims=True))
    powers /= powers.sum(axis=-1, keepdims=True)
    return powers
