"""The last stage: makes results of predictions and failures, and stores, sends and acknowledges them in groups."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence

from app_tier.pipeline.flow import Flow
from app_tier.pipeline.item import WorkItem
from app_tier.pipeline.result_batching import ResultBatcher
from app_tier.pipeline.result_writer import FinishedItem, ResultWriter
from app_tier.taggers import Prediction
from core import telemetry
from core.domain.messages import log_ids

Tagged = Sequence[tuple[WorkItem, Prediction]]


class Finishing:
    """Finishes images. Safe for several threads.

    `finished` makes a finished item of a prediction, or of an error. `measured` is told how long a group took to write,
    in seconds, and its number of results.
    """

    def __init__(
        self,
        flow: Flow,
        writer: ResultWriter,
        batcher: ResultBatcher,
        finished: Callable[[WorkItem, Prediction, str | None], FinishedItem],
        measured: Callable[[float, int], None],
    ) -> None:
        self._flow = flow
        self._writer = writer
        self._batcher = batcher
        self._finished = finished
        self._measured = measured
        self._tagged: queue.SimpleQueue[Tagged | None] = queue.SimpleQueue()
        self._waits = threading.Lock()

    def put(self, finished: FinishedItem) -> None:
        """Write a result that is there already."""
        self._batcher.put([finished])

    def put_tagged(self, tagged: Tagged) -> None:
        """Finish a tagged batch. Returns at once, so that the next batch can begin."""
        self._tagged.put(tagged)

    def fail(self, item: WorkItem, why: str) -> None:
        """Finish an image with an error. It is a result like any other: stored, sent, acknowledged."""
        telemetry.logger().info("an image cannot be tagged", why=why, **log_ids(item.job))
        self._flow.stop_expecting(item)
        self.put(self._finished(item, Prediction(), f"{item.job.name}: {why}"))

    def make_results(self) -> None:
        """Make results of tagged batches, until `close`. Runs in one thread."""
        while (tagged := self._tagged.get()) is not None:
            for item, _ in tagged:
                item.drop_bytes()
            self._batcher.put([self._finished(item, prediction, None) for item, prediction in tagged])

    def write_next(self) -> bool:
        """Store, send and acknowledge a group of results. Return False once there will be no more."""
        with self._waits:  # the others wait here, where no change of the batcher wakes them
            group = self._batcher.next()
        if not group:
            return False
        started = time.perf_counter()
        written = group if self._writer.write(group) else []
        self._measured(time.perf_counter() - started, len(group))
        ok = sum(finished.result.ok for finished in written)
        self._flow.count(done=ok, failed=len(written) - ok)
        self._batcher.mark_written(group)
        if telemetry.logger().is_enabled_for(logging.DEBUG):
            for finished in written:
                telemetry.logger().debug("a result is delivered", ok=finished.result.ok, **log_ids(finished.result))
        return True

    def wait_until_written(self, timeout_s: float) -> bool:
        """Wait until no result is waiting or being written. Return False if that takes longer than `timeout_s`."""
        return self._batcher.wait_until_written(timeout_s)

    def close(self) -> None:
        """End `make_results` and `write_next` once nothing is left."""
        self._tagged.put(None)
        self._batcher.close()
