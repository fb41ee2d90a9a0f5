"""Measure the machine's limit: the engine alone, and decoder plus engine in one process without queue and store."""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import repeat

import numpy as np

from app_tier.pipeline.resources import measure_resources
from app_tier.pipeline.sizing import Sizing
from app_tier.taggers import DeviceTagger, Frame, PendingTags
from app_tier.worker import selection
from config.settings import Settings
from core.domain.messages import TagOptions
from core.imaging.decode import DecodeBudget, Decoder
from core.wiring import Backend


class Limit:
    """The worker's decoder, tagger and thread counts, fed from memory."""

    def __init__(self, settings: Settings) -> None:
        pool = settings.pools[settings.default_pool]
        self.tagger = selection.choose(pool, settings, Backend(settings).store).load()
        self._sizes = Sizing(settings.worker, self.tagger.best_batch, 1, measure_resources()).first()
        self._decoder = Decoder(self.tagger.side, DecodeBudget(settings.worker.decode_memory_mb))

    def engine(self, photos: Sequence[bytes]) -> float:
        """Return images/s of the tagger alone, on full batches decoded beforehand."""
        size = self._sizes.batch
        frames = [self._frame(data) for data in photos[:size]]
        rounds = max(1, len(photos) // size)
        started = time.perf_counter()
        self._tag(repeat(frames, rounds))
        return rounds * size / (time.perf_counter() - started)

    def decode_and_engine(self, photos: Sequence[bytes]) -> float:
        """Return images/s from JPEG bytes to tags, with decoding and inference overlapped."""
        waiting: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        for item in [*photos, *[None] * self._sizes.decode_threads]:
            waiting.put(item)
        decoded: queue.Queue[Frame] = queue.Queue(3 * self._sizes.batch)

        def decode() -> None:
            while (data := waiting.get()) is not None:
                decoded.put(self._frame(data))

        started = time.perf_counter()
        for _ in range(self._sizes.decode_threads):
            threading.Thread(target=decode, daemon=True).start()
        size = self._sizes.batch
        self._tag([decoded.get() for _ in range(min(size, len(photos) - done))] for done in range(0, len(photos), size))
        return len(photos) / (time.perf_counter() - started)

    def _tag(self, batches: Iterable[list[Frame]]) -> None:
        """Tag the batches, as many of them at a time as the tagger takes."""
        under_way: deque[PendingTags] = deque()
        for frames in batches:
            options = [TagOptions()] * len(frames)
            if not isinstance(self.tagger, DeviceTagger):
                self.tagger.infer(np.stack(frames), options)
                continue
            if len(under_way) == self.tagger.under_way:
                under_way.popleft().result()
            under_way.append(self.tagger.submit(frames, options))
        for pending in under_way:
            pending.result()

    def _frame(self, data: bytes) -> Frame:
        return self.tagger.preprocess(self._decoder.decode(data))
