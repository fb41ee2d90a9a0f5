"""Serve with BentoML, as in https://docs.bentoml.com/en/latest/get-started/adaptive-batching.html."""

from __future__ import annotations

from pathlib import Path

import bentoml

from bench.peers import model

_BATCH = 100  # bentoml's default


@bentoml.service
class Tagger:
    def __init__(self) -> None:
        self.model = model.load()

    @bentoml.api(batchable=True, max_batch_size=model.batch_size(_BATCH))
    def predict(self, image: list[Path]) -> list[list[str]]:
        return self.model.tag([self.model.prepare(path.read_bytes()) for path in image])
