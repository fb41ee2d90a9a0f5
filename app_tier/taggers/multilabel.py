"""Multi-label taggers: each label is there or not by itself, from its own threshold on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from app_tier.engines import Engine, Outputs, Pixels
from app_tier.models.networks import Network
from app_tier.taggers import Frame, Prediction
from app_tier.taggers.imagenet import frame
from core.domain.messages import Tag, TagOptions
from core.storage.models import Manifest


class MultiLabelTagger:
    """A sigmoid over each label's output. A batch's `min_confidence` goes before the thresholds of the model."""

    most_at_once: int | None = None

    def __init__(self, manifest: Manifest, network: Network, engine: Engine) -> None:
        self.name = manifest.name
        self.version = manifest.reference
        self.labels: Sequence[str] = manifest.labels
        self.side = network.resize
        self.shape = (network.crop, network.crop, 3)
        self.engine_name = engine.name
        self._engine = engine
        self._network = network
        self._temperature = manifest.temperature
        self._thresholds = np.array(manifest.thresholds, dtype=np.float32)

    def preprocess(self, image: Image.Image) -> Frame:
        return frame(image, self._network)

    def infer(self, frames: Pixels, options: Sequence[TagOptions]) -> list[Prediction]:
        probabilities = sigmoid(self._engine.infer(frames) / self._temperature)
        return [Prediction(self._tags(row, wanted)) for row, wanted in zip(probabilities, options, strict=True)]

    def _tags(self, probabilities: Outputs, wanted: TagOptions) -> tuple[Tag, ...]:
        threshold = self._thresholds if wanted.min_confidence is None else wanted.min_confidence
        found = np.flatnonzero(probabilities >= threshold)
        best = found[np.argsort(-probabilities[found], kind="stable")][: wanted.top_k]
        return tuple(Tag(name=self.labels[i], confidence=round(float(probabilities[i]), 4)) for i in best)


def sigmoid(outputs: Outputs) -> Outputs:
    """1 / (1 + exp(-x)) without overflow: by tanh."""
    probabilities: Outputs = (0.5 * (np.tanh(0.5 * outputs) + 1)).astype(np.float32)
    return probabilities
