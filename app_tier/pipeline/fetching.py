"""The fetch stage: checks whether an image still has to be tagged, and reads its bytes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

from app_tier.pipeline.fetched_bytes import Draining
from app_tier.pipeline.flow import Flow
from app_tier.pipeline.item import WorkItem
from app_tier.pipeline.result_writer import FinishedItem, ResultWriter
from core import telemetry
from core.domain.messages import log_ids
from core.errors import NotFound, Unavailable, Unreadable
from core.storage import layout
from core.storage.originals import Originals
from core.storage.ports import ObjectStore

_TRIES = 5
_RELEASE_DELAY_S = 10.0
_FRESH_S = 2.0
_REMEMBERED = 1000
_LOCKS = 64


class Cancellations:
    """Tells whether a batch was cancelled. It asks the store at most every two seconds for each batch.

    `clock` is monotonic. Safe for several threads, of which one asks: the others wait for the first answer about a
    batch, and go by the last one while a newer one is under way.
    """

    def __init__(self, store: ObjectStore, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._answers: dict[str, tuple[bool, float]] = {}
        self._asking = [threading.Lock() for _ in range(_LOCKS)]

    def __len__(self) -> int:
        """The number of batches whose answers are remembered."""
        return len(self._answers)

    def is_cancelled(self, batch_id: str) -> bool:
        """Return whether the batch was cancelled. False while the store is unavailable: tagging in vain is harmless."""
        known = self._answers.get(batch_id)
        if known is not None and self._is_fresh(known):
            return known[0]
        asking = self._asking[hash(batch_id) % _LOCKS]
        if not asking.acquire(blocking=known is None):
            return known is not None and known[0]
        try:
            return self._ask_unless_fresh(batch_id)
        finally:
            asking.release()

    def _is_fresh(self, answer: tuple[bool, float]) -> bool:
        cancelled, asked_at = answer
        return cancelled or self._clock() - asked_at < _FRESH_S

    def _ask_unless_fresh(self, batch_id: str) -> bool:
        known = self._answers.get(batch_id)
        if known is None or not self._is_fresh(known):
            if len(self._answers) >= _REMEMBERED:
                self._answers.clear()
            now = self._clock()
            known = self._answers[batch_id] = self._is_marked(batch_id), now
        return known[0]

    def _is_marked(self, batch_id: str) -> bool:
        try:
            self._store.get(layout.cancelled_key(batch_id))
        except (NotFound, Unavailable):
            return False
        return True


class Fetching:
    """Fetches images. `finished` takes a result that an earlier delivery stored, `failed` an image and its error."""

    def __init__(
        self,
        flow: Flow,
        originals: Originals,
        cancellations: Cancellations,
        writer: ResultWriter,
        *,
        finished: Callable[[FinishedItem], None],
        failed: Callable[[WorkItem, str], None],
        measured: Callable[[float], None] = lambda seconds: None,
    ) -> None:
        """`measured` takes the seconds of each read, without the time for which it waited for room."""
        self._flow = flow
        self._originals = originals
        self._cancellations = cancellations
        self._writer = writer
        self._finished = finished
        self._failed = failed
        self._measured = measured

    def is_wanted(self, item: WorkItem) -> bool:
        """Return whether the image is still to be tagged.

        It is not if its batch was cancelled, or if an earlier delivery stored its result. Then it is finished here.
        """
        try:
            return not (self._drop_if_cancelled(item) or self._resend_if_stored(item))
        except Unavailable as error:
            self._postpone(item, error)
            return False

    def fetch(self, item: WorkItem) -> bool:
        """Read the image's bytes into the item. Return whether they came; if not, it failed or was released."""
        started = time.perf_counter()
        held = item.held = self._flow.fetched.image()
        try:
            read = partial(self._originals.of_job, item.job, held.admit)
            item.job, item.data = self._flow.retrier.call(read, _TRIES)
        except Draining:
            self._flow.release([item])
        except (NotFound, ValueError):  # ValueError: not a key that the store knows
            self._failed(item, f"its bytes are no longer in {item.job.place}")
        except Unreadable as error:
            self._failed(item, str(error))
        except Unavailable as error:
            self._postpone(item, error)
        else:
            item.record_time("fetch", started)
            self._measured(time.perf_counter() - started - held.waited_s)
            return True
        return False

    def _drop_if_cancelled(self, item: WorkItem) -> bool:
        """Acknowledge an image of a cancelled batch, without a result. Return whether it was one."""
        if item.job.store_only or not self._cancellations.is_cancelled(item.job.batch_id):  # nobody cancels a run
            return False
        self._flow.retrier.call(lambda: self._flow.in_flight.acknowledge([item.delivery]), _TRIES)
        self._flow.stop_expecting(item)
        return True

    def _resend_if_stored(self, item: WorkItem) -> bool:
        """Finish an image whose result an earlier delivery stored and did not send. Return whether it was one."""
        if item.delivery.receive_count == 1:
            return False
        result = self._flow.retrier.call(partial(self._writer.find_stored, item.job), _TRIES)
        if result is not None:
            self._flow.stop_expecting(item)
            self._finished(FinishedItem(item.delivery, result, stored=True, store_only=item.job.store_only))
        return result is not None

    def _postpone(self, item: WorkItem, error: Unavailable) -> None:
        telemetry.logger().warning("an image is released", why=str(error), **log_ids(item.job))
        self._flow.stop_expecting(item)
        self._flow.in_flight.release([item.delivery], _RELEASE_DELAY_S)
