"""Load the network that every peer serves, with torch as the peers' documentation does, or with Tagfleet's engine.

This module runs in the peers' environments, which have this checkout and its packages on their path.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import BytesIO
from typing import Any, Protocol

from PIL import Image

ENGINE = "PEER_ENGINE"
BATCH = "PEER_BATCH"
_TOP = 5


class Model(Protocol):
    """The model that a peer serves: `prepare` runs once per request, `tag` once per batch."""

    def prepare(self, photo: bytes) -> Any:
        """Return the network's input for a JPEG."""

    def tag(self, inputs: Sequence[Any]) -> list[list[str]]:
        """Return the names of the best labels for each input."""


def load() -> Model:
    """Load the engine that the environment names, torch or openvino."""
    return Ours() if os.environ[ENGINE] == "openvino" else Torch()


def batch_size(default: int) -> int:
    """Return the batch size of the environment, else the server's `default`."""
    return int(os.environ.get(BATCH) or default)


class Torch:
    """torchvision's ResNet50 with its own transform, as in the tutorials of all three servers."""

    def __init__(self) -> None:
        import torch
        import torchvision
        from safetensors.torch import load_file

        from config import settings as config

        weights = torchvision.models.ResNet50_Weights.IMAGENET1K_V2
        self._torch = torch
        self._labels = weights.meta["categories"]
        self._transform = weights.transforms()
        self._network = torchvision.models.resnet50()
        self._network.load_state_dict(load_file(config.load(os.environ).weights_folder / "resnet50.safetensors"))
        self._network.eval()

    def prepare(self, photo: bytes) -> Any:
        return self._transform(Image.open(BytesIO(photo)).convert("RGB"))

    def tag(self, inputs: Sequence[Any]) -> list[list[str]]:
        with self._torch.inference_mode():
            best = self._network(self._torch.stack(list(inputs))).softmax(dim=1).topk(_TOP).indices
        return [[self._labels[index] for index in row] for row in best.tolist()]


class Ours:
    """The decoder and the tagger of Tagfleet's worker."""

    def __init__(self) -> None:
        from app_tier.worker import selection
        from config import settings as config
        from core.imaging.decode import DecodeBudget, Decoder
        from core.wiring import Backend

        settings = config.load(os.environ)
        pool = settings.pools[settings.default_pool]
        self._tagger = selection.choose(pool, settings, Backend(settings).store).load()
        self._decoder = Decoder(self._tagger.side, DecodeBudget(settings.worker.decode_memory_mb))

    def prepare(self, photo: bytes) -> Any:
        return self._tagger.preprocess(self._decoder.decode(photo))

    def tag(self, inputs: Sequence[Any]) -> list[list[str]]:
        import numpy as np

        from core.domain.messages import TagOptions

        found = self._tagger.infer(np.stack(list(inputs)), [TagOptions(top_k=_TOP, min_confidence=0.0)] * len(inputs))
        return [[tag.name for tag in prediction.tags] for prediction in found]
