"""Multi-label taggers: each label is present or not, independently of the others, by a threshold of its own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from app_tier.engines import AnyFrame, Engine, Outputs, Pixels, submit
from app_tier.models.networks import Network
from app_tier.taggers import Frame, PendingTags, Prediction
from app_tier.taggers.imagenet import to_frame
from app_tier.taggers.on_device import OnDevice
from core.domain.messages import Tag, TagOptions
from core.storage.models import Manifest


class MultiLabelTagger(OnDevice):
    """Applies a sigmoid to each label's output. A batch's `min_confidence` replaces the model's thresholds."""

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
        """Scale the image and crop its centre."""
        return to_frame(image, self._network)

    def infer(self, frames: Pixels, options: Sequence[TagOptions]) -> list[Prediction]:
        """Return each frame's labels above their thresholds."""
        return self._predict(self._engine.infer(frames), options)

    def submit(self, frames: Sequence[AnyFrame], options: Sequence[TagOptions]) -> PendingTags:
        """Start a forward pass."""
        pending = submit(self._engine, frames)
        return PendingTags(pending.result, lambda outputs: self._predict(outputs, options))

    def _predict(self, outputs: Outputs, options: Sequence[TagOptions]) -> list[Prediction]:
        probabilities = sigmoid(outputs / self._temperature)
        return [Prediction(self._choose_tags(row, asked)) for row, asked in zip(probabilities, options, strict=True)]

    def _choose_tags(self, probabilities: Outputs, asked: TagOptions) -> tuple[Tag, ...]:
        threshold = self._thresholds if asked.min_confidence is None else asked.min_confidence
        present = np.flatnonzero(probabilities >= threshold)
        best = present[np.argsort(-probabilities[present], kind="stable")][: asked.top_k]
        return tuple(Tag(name=self.labels[i], confidence=round(float(probabilities[i]), 4)) for i in best)


def sigmoid(outputs: Outputs) -> Outputs:
    """Return 1 / (1 + exp(-x)), computed by tanh, which does not overflow."""
    probabilities: Outputs = (0.5 * (np.tanh(0.5 * outputs) + 1)).astype(np.float32)
    return probabilities
