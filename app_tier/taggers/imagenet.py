"""Single-label classifiers trained on ImageNet: the top-k labels whose probability is high enough."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache

import numpy as np
from PIL import Image

from app_tier.engines import Engine, Outputs, Pixels
from app_tier.networks import Network
from app_tier.taggers import Frame, Prediction
from core.messages import Tag, TagOptions

_FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


class ImageNetTagger:
    """Softmax over ImageNet's 1,000 labels.

    `exact` makes an fp32 engine for the photos that bf16 can't settle; it is asked for at the first such photo.
    """

    def __init__(
        self,
        network: Network,
        weights_hash: str,
        engine: Engine,
        defaults: TagOptions,
        exact: Callable[[], Engine] | None = None,
    ) -> None:
        self.name = network.name
        self.version = f"{network.name}@{weights_hash[:8]}"
        self.labels: Sequence[str] = network.label_names
        self.side = network.resize
        self.shape = (network.crop, network.crop, 3)
        self.engine_name = engine.name
        self._engine = engine
        self._network = network
        self._defaults = defaults
        self._exact = cache(exact) if exact else None

    def preprocess(self, image: Image.Image) -> Frame:
        return frame(image, self._network)

    def infer(self, frames: Pixels, options: Sequence[TagOptions]) -> list[Prediction]:
        probabilities = softmax(self._settled(frames, self._engine.infer(frames)))
        return [Prediction(self._top(row, wanted)) for row, wanted in zip(probabilities, options, strict=True)]

    def _settled(self, frames: Pixels, outputs: Outputs) -> Outputs:
        """The outputs with near-ties between the two highest computed again in fp32."""
        if self._exact is None:
            return outputs
        highest = np.partition(outputs, -2, axis=1)[:, -2:]
        close = highest[:, 1] - highest[:, 0] < self._network.near_tie
        if close.any():
            outputs[close] = self._exact().infer(frames[close])
        return outputs

    def _top(self, probabilities: Outputs, wanted: TagOptions) -> tuple[Tag, ...]:
        k = min(wanted.top_k or self._defaults.top_k or len(probabilities), len(probabilities))
        threshold = wanted.min_confidence if wanted.min_confidence is not None else self._defaults.min_confidence or 0.0
        best = np.argpartition(probabilities, -k)[-k:]
        best = best[np.argsort(probabilities[best])[::-1]]
        return tuple(
            Tag(name=self.labels[index], confidence=round(float(probabilities[index]), 4))
            for index in best
            if probabilities[index] >= threshold
        )


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
