"""The state that all stages of a pipeline share: the messages in flight, the drain request, retries, and counts."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from app_tier.pipeline.fetched_bytes import FetchedBytes
from app_tier.pipeline.in_flight import InFlight
from app_tier.pipeline.item import WorkItem
from app_tier.pipeline.retrying import Health, Retrier
from core import telemetry

_READ_OVERHEAD = 1 / 8
"""Of an `io.BytesIO`, which S3's client fills."""


class ReceiveGate:
    """Stops the receiving of messages while it is closed, or while somebody has it suspended."""

    def __init__(self) -> None:
        self._closed = False
        self._suspended = 0
        self._under_way = 0
        self._changed = threading.Condition()

    def open(self) -> None:
        """Let messages be received."""
        self._closed = False

    def close(self) -> None:
        """Let no more messages be received. Receives may still be under way."""
        self._closed = True

    @contextmanager
    def receive(self) -> Iterator[bool]:
        """Count a receive as under way during the block. Yields whether it may take place."""
        with self._changed:
            may_receive = not (self._closed or self._suspended)
            self._under_way += may_receive
        try:
            yield may_receive
        finally:
            if may_receive:
                with self._changed:
                    self._under_way -= 1
                    self._changed.notify_all()

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """Wait until no receive is under way, and let none begin during the block."""
        with self._changed:
            self._suspended += 1
            self._changed.wait_for(lambda: not self._under_way)
        try:
            yield
        finally:
            with self._changed:
                self._suspended -= 1


class Flow:
    """Safe for several threads. `failure` is the error of a stage that failed; it ends the worker.

    `fetched_limit` is in bytes: how many of images that are not decoded yet are held.
    """

    def __init__(self, in_flight: InFlight, fetched_limit: int = 128 << 20) -> None:
        self.in_flight = in_flight
        self.draining = threading.Event()
        self.fetched = FetchedBytes(fetched_limit, self.draining, _READ_OVERHEAD)
        self.health = Health()
        self.retrier = Retrier(self.draining, self.health)
        self.receiving = ReceiveGate()
        self.images_done = 0
        """Includes messages of feedback that were learned from."""
        self.images_failed = 0
        self.failure: BaseException | None = None
        self._before_infer: set[str] = set()  # receipts
        self._lock = threading.Lock()

    def run_stage(self, stage: Callable[[], None]) -> None:
        """Run a stage in this thread. A stage has no caller, so its error is kept as `failure`, and work drains."""
        try:
            stage()
        except BaseException as error:  # noqa: BLE001  # whatever it is, it ends the worker
            telemetry.logger().exception("a stage of the pipeline failed", stage=threading.current_thread().name)
            self.failure = error
            self.draining.set()

    def expected_at_infer(self) -> int:
        """Return how many images are on their way to `infer`: a batch may wait for them."""
        with self._lock:
            return len(self._before_infer)

    def expect_at_infer(self, item: WorkItem) -> None:
        """Count the image as on its way to `infer`."""
        with self._lock:
            self._before_infer.add(item.delivery.receipt)

    def stop_expecting(self, item: WorkItem, *, keep_bytes: bool = False) -> None:
        """Count the image as arrived at `infer`, or as one that will not come. Drop its bytes."""
        with self._lock:
            self._before_infer.discard(item.delivery.receipt)
        if not keep_bytes:
            item.drop_bytes()

    def release_if_draining(self, item: WorkItem) -> bool:
        """While draining, release an image that has not begun its next stage. Return whether it was released."""
        if not self.draining.is_set():
            return False
        self.release([item])
        return True

    def release(self, items: Sequence[WorkItem]) -> None:
        """Give images back to the queue, for other workers."""
        for item in items:
            self.stop_expecting(item)
        self.in_flight.release([item.delivery for item in items])

    def count(self, *, done: int = 0, failed: int = 0) -> None:
        """Add to the counts."""
        with self._lock:
            self.images_done += done
            self.images_failed += failed
