"""The infer stage: takes batches of decoded images, and tags them.

1. A tagger without an engine that takes several batches tags one at a time, in the stage's own thread.
2. Others take several: while one is computed, this thread decodes and copies the next. Another thread collects the
   outputs in order, so a batch that waits for more images delays none that is done. It makes the predictions once the
   device may take another batch: to settle near-ties takes time.
3. JPEGs that the device refuses go back to the decode stage, whose decoder says what is wrong with them, if anything.
4. All images under way are in the crash record: the device's decoder and the network may crash the process.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass

import numpy as np

from app_tier.engines import AnyFrame
from app_tier.pipeline.batching import InferenceBatcher
from app_tier.pipeline.call_watch import CallWatch
from app_tier.pipeline.crash_record import CrashRecord
from app_tier.pipeline.item import WorkItem
from app_tier.taggers import DeviceTagger, PendingTags, Prediction, Tagger

Tagged = Callable[[Sequence[tuple[WorkItem, Prediction]]], None]


class Inference:
    """Tags the batches of `batcher` until it is closed, and passes each to `tagged`, or to `refused` one by one."""

    def __init__(
        self,
        batcher: InferenceBatcher,
        crash_record: CrashRecord,
        tagged: Tagged,
        refused: Callable[[WorkItem], None] = lambda item: None,
        calls: CallWatch | None = None,
    ) -> None:
        """`calls` watches each batch, from its begin until its tags are there."""
        self._batcher = batcher
        self._crash_record = crash_record
        self._tagged = tagged
        self._refused = refused
        self._calls = calls or CallWatch()
        self._collector = _Collector(self._collect)

    def run(self) -> None:
        """Tag all batches. Runs in one thread. Raises the first error, also one of a batch under way."""
        try:
            while batch := self._next():
                tagger: Tagger = batch[0].tagger  # type: ignore[assignment]  # the one tagger that made all frames
                if isinstance(tagger, DeviceTagger) and tagger.under_way > 1:
                    self._submit(batch, tagger)
                else:
                    self._infer(batch, tagger)
        finally:
            self._collector.close()

    def _next(self) -> list[WorkItem]:
        """Return the next batch that there is room for; it grows while it waits. Empty at the end."""
        self._collector.wait_for_room()
        return self._batcher.next()

    def _infer(self, batch: Sequence[WorkItem], tagger: Tagger) -> None:
        started = time.perf_counter()
        frames = np.stack([item.frame for item in batch])  # type: ignore[misc]  # decoded: each has its frame
        with self._calls.call(), self._crash_record.tagging([item.job.image_id for item in batch]):
            predictions = tagger.infer(frames, [item.job.options for item in batch])
        self._pass_on(batch, predictions, started)

    def _submit(self, batch: Sequence[WorkItem], tagger: DeviceTagger) -> None:
        """Give the batch to the device. The crash record holds it until it is collected."""
        started = time.perf_counter()
        with ExitStack() as recorded:
            recorded.enter_context(self._calls.call())
            recorded.enter_context(self._crash_record.tagging([item.job.image_id for item in batch]))
            framed = self._decode(batch, tagger)
            if framed:
                items = [item for item, _ in framed]
                pending = tagger.submit([frame for _, frame in framed], [item.job.options for item in items])
                under_way = _UnderWay(items, pending, started, recorded.pop_all())
                self._collector.put(under_way, tagger.under_way)

    def _decode(self, batch: Sequence[WorkItem], tagger: DeviceTagger) -> list[tuple[WorkItem, AnyFrame]]:
        """Return the images with their frames, without those that the device refuses."""
        jpegs = [item.jpeg for item in batch if item.jpeg is not None]
        decoded = iter(tagger.decode(jpegs) if jpegs else ())
        framed: list[tuple[WorkItem, AnyFrame]] = []
        for item in batch:
            frame = item.frame if item.jpeg is None else next(decoded)
            if frame is None:
                self._refused(item)
                continue
            if item.jpeg is not None:
                item.drop_bytes()
            framed.append((item, frame))
        return framed

    def _collect(self, under_way: _UnderWay, free: Callable[[], None]) -> None:
        """Pass the batch on. `free` is called once the device may take another."""
        with under_way.recorded:
            outputs = under_way.pending.outputs()
            free()
            predictions = under_way.pending.predict(outputs)
        self._pass_on(under_way.batch, predictions, under_way.started)

    def _pass_on(self, batch: Sequence[WorkItem], predictions: Sequence[Prediction], started: float) -> None:
        for item in batch:
            item.record_time("infer", started, shared_by=len(batch))
        self._tagged(list(zip(batch, predictions, strict=True)))


@dataclass(frozen=True, slots=True)
class _UnderWay:
    """A batch on the device."""

    batch: Sequence[WorkItem]
    pending: PendingTags
    started: float
    recorded: ExitStack
    """Ends its call, and its entries in the crash record."""


class _Collector:
    """Collects batches in order, in a thread that starts with the first. Its error is raised by the other methods."""

    def __init__(self, collect: Callable[[_UnderWay, Callable[[], None]], None]) -> None:
        self._collect = collect
        self._under_way: deque[_UnderWay] = deque()
        self._most = 1
        self._closed = False
        self._error: BaseException | None = None
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None

    def wait_for_room(self) -> None:
        """Wait until another batch may be taken."""
        with self._changed:
            self._changed.wait_for(lambda: len(self._under_way) < self._most or self._error)
        self._raise_error()

    def put(self, batch: _UnderWay, most: int) -> None:
        """Let the batch be collected. `most` may be under way together."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="collect", daemon=True)
            self._thread.start()
        with self._changed:
            self._most = most
            self._under_way.append(batch)
            self._changed.notify_all()

    def close(self) -> None:
        """Collect what is under way, then end the thread."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        self._raise_error()

    def _run(self) -> None:
        try:
            while batch := self._next():
                self._collect(batch, self._free)
        except BaseException as error:  # noqa: BLE001  # raised in the stage's own thread
            with self._changed:
                self._error = error
                self._changed.notify_all()

    def _free(self) -> None:
        with self._changed:
            self._under_way.popleft()
            self._changed.notify_all()

    def _next(self) -> _UnderWay | None:
        with self._changed:
            self._changed.wait_for(lambda: self._under_way or self._closed)
            return self._under_way[0] if self._under_way else None

    def _raise_error(self) -> None:
        if self._error is not None:
            raise self._error
