"""The infer stage: takes batches of decoded images, and tags them."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import numpy as np

from app_tier.pipeline.batching import InferenceBatcher
from app_tier.pipeline.crash_record import CrashRecord
from app_tier.pipeline.item import WorkItem
from app_tier.taggers import Prediction, Tagger

Tagged = Callable[[Sequence[tuple[WorkItem, Prediction]]], None]


class Inference:
    """Tags the batches of `batcher` until it is closed, and passes each to `tagged`."""

    def __init__(self, batcher: InferenceBatcher, crash_record: CrashRecord, tagged: Tagged) -> None:
        self._batcher = batcher
        self._crash_record = crash_record
        self._tagged = tagged

    def run(self) -> None:
        """Tag all batches. Runs in one thread."""
        while batch := self._batcher.next():
            started = time.perf_counter()
            frames = np.stack([item.frame for item in batch])  # type: ignore[misc]  # decoded: each has its frame
            tagger: Tagger = batch[0].tagger  # type: ignore[assignment]  # the one tagger that made all frames
            with self._crash_record.tagging([item.job.image_id for item in batch]):
                predictions = tagger.infer(frames, [item.job.options for item in batch])
            for item in batch:
                item.record_time("infer", started, shared_by=len(batch))
            self._tagged(list(zip(batch, predictions, strict=True)))
