"""The state that all stages of a pipeline share: the messages in flight, the drain request, retries, and counts."""

from __future__ import annotations

import threading
from collections.abc import Callable

from app_tier.pipeline.in_flight import InFlight
from app_tier.pipeline.item import WorkItem
from app_tier.pipeline.retrying import Health, Retrier
from core import telemetry


class ReceiveGate:
    """Stops the receiving of messages while it is closed. `lock` is held during a receive."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self._closed = threading.Event()

    @property
    def is_open(self) -> bool:
        """Whether messages may be received."""
        return not self._closed.is_set()

    def open(self) -> None:
        """Let messages be received."""
        self._closed.clear()

    def close(self) -> None:
        """Let no more messages be received. One receive may still be under way."""
        self._closed.set()


class Flow:
    """Safe for several threads. `failure` is the error of a stage that failed; it ends the worker."""

    def __init__(self, in_flight: InFlight) -> None:
        self.in_flight = in_flight
        self.draining = threading.Event()
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

    def stop_expecting(self, item: WorkItem) -> None:
        """Count the image as arrived at `infer`, or as one that will not come."""
        with self._lock:
            self._before_infer.discard(item.delivery.receipt)

    def release_if_draining(self, item: WorkItem) -> bool:
        """While draining, release an image that has not begun its next stage. Return whether it was released."""
        if not self.draining.is_set():
            return False
        self.stop_expecting(item)
        self.in_flight.release([item.delivery])
        return True

    def count(self, *, done: int = 0, failed: int = 0) -> None:
        """Add to the counts."""
        with self._lock:
            self.images_done += done
            self.images_failed += failed
