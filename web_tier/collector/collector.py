"""Record results from the output queue in the catalogue.

1. `collect` receives a group of messages (`receiving`), records their results in one transaction, then deletes the
   messages. A crash in between repeats this, and the catalogue ignores what it has recorded before.
2. A sweep every few seconds finishes what others left behind: jobs and feedback that were not sent, dead letters,
   abandoned and expired batches.
3. `reconcile` now and then looks in the store for results whose messages were lost.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from itertools import islice

from config.settings import Settings
from core.domain.messages import Result, decode_result
from core.errors import BadMessage, NotFound, Unavailable
from core.storage import layout
from core.telemetry import logger
from core.wiring import Backend
from web_tier.catalog.drops import DropCatalog
from web_tier.catalog.feedback import FeedbackCatalog
from web_tier.catalog.lifecycle import LifecycleCatalog
from web_tier.catalog.results import ImageOutcome, ResultCatalog
from web_tier.collector.dead_letter_sweeper import DeadLetterSweeper
from web_tier.collector.receiving import GROUP, Received, ResultReceiver
from web_tier.services.dispatch import Dispatch
from web_tier.services.feedback_publisher import FeedbackPublisher
from web_tier.services.lifecycle import Housekeeping
from web_tier.services.outage import Outage

_UNSENT_AFTER_S = 5.0
_QUIET_S = 60.0
_RECONCILE_EVERY = 30


class Collector:
    """Collects until it is stopped. It may be interrupted anywhere: a rerun ends with the same catalogue.

    `clock` returns Unix seconds, `monotonic` any. `step` is told what begins now, so that others can tell a long step
    from one that hangs.
    """

    def __init__(
        self,
        backend: Backend,
        catalog: ResultCatalog,
        settings: Settings,
        clock: Callable[[], float],
        step: Callable[[str], None] = lambda _name: None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._monotonic = monotonic
        self._step = step
        self._backend = backend
        self._jobs = cache(backend.jobs)
        self._catalog = catalog
        self._settings = settings
        self._clock = clock
        self._drops = DropCatalog(catalog.database)
        self._dispatch = Dispatch(self._jobs, catalog)
        self._housekeeping = Housekeeping(backend.store, LifecycleCatalog(catalog.database), settings.collector, clock)
        self._feedback = FeedbackPublisher(self._jobs, FeedbackCatalog(catalog.database), settings.learning_pools)
        self._dead_letters = DeadLetterSweeper(backend.store, catalog, settings.queue.max_receives, clock, self._record)
        self._receiver = ResultReceiver(backend.results, catalog.would_complete, monotonic)

    def run(self, stop: threading.Event) -> None:
        """Collect until `stop` is set, and finish the group in hand. Retry what does not answer.

        Another thread removes and cancels large batches meanwhile, so that no result waits for them.
        """
        housekeeping = threading.Thread(target=self._housekeeping.run, args=(stop,), name="housekeeping")
        housekeeping.start()
        try:
            self._run(stop)
        finally:
            stop.set()
            housekeeping.join()

    def _run(self, stop: threading.Event) -> None:
        swept_at, sweeps = float("-inf"), 0
        collecting, sweeping = _new_outage(), _new_outage()
        while not stop.is_set():
            self._step("collect")
            try:
                self.collect(stop, self._idle_wait(swept_at))
                collecting.end()
            except Unavailable as error:
                self._wait(collecting.record(error), stop)
            if self._monotonic() - swept_at < self._settings.collector.sweep_s:
                continue
            swept_at = self._monotonic()
            try:
                self._step("sweep")
                self._sweep()
                self._step("reconcile")
                if sweeps % _RECONCILE_EVERY == 0:
                    self.reconcile(quiet_s=_QUIET_S if sweeps else 0.0)
                sweeps += 1
                sweeping.end()
            except Unavailable as error:
                self._wait(sweeping.record(error), stop)

    def _idle_wait(self, swept_at: float) -> float:
        """Return how long a receive may wait for the first result: no sweep is late, and no step looks stuck."""
        until_sweep = swept_at + self._settings.collector.sweep_s - self._monotonic()
        return max(0.0, min(self._receiver.longest_wait_s, until_sweep, self._settings.stalled_s / 2))

    def _wait(self, pause_s: float, stop: threading.Event) -> None:
        self._step("wait")
        stop.wait(pause_s)

    def collect(self, stop: threading.Event | None = None, wait_s: float = 1.0) -> int:
        """Record one group of results; return how many were new. Waits up to `wait_s` for the first.

        Raises Unavailable if the queue does not answer. Once it holds messages, it does so only after `stop` is set.
        """
        stop = stop or threading.Event()
        group = self._receiver.receive(stop, wait_s)
        return self._record_messages(group, stop) if group else 0

    def _record_messages(self, group: Sequence[Received], stop: threading.Event) -> int:
        """Record the results, then delete their messages. While the catalogue is away, keep the messages hidden."""
        outage = _new_outage()
        while True:
            try:
                read = [(received.delivery, self._read(received)) for received in group]
                done = [delivery for delivery, result in read if result is not None]
                new = self._record([ImageOutcome.of(result) for _, result in read if result is not None])
                self._backend.results.delete(done)
            except Unavailable as error:
                if stop.is_set():
                    raise  # the messages come back after the visibility timeout
                self._wait(outage.record(error), stop)
                self._keep_hidden(group)
            else:
                outage.end()
                return new

    def _read(self, received: Received) -> Result | None:
        """Return the result; None if it cannot be read: the message is left to become a dead letter."""
        message = received.message
        if message is None:
            return None
        if message.result is not None:
            return message.result
        try:
            return decode_result(self._backend.store.get(message.result_key or "").data)
        except (BadMessage, NotFound, ValueError) as error:  # ValueError: the message holds an invalid key
            logger().error("a result cannot be read", reason=str(error), receives=received.delivery.receive_count)
            return None

    def _record(self, outcomes: list[ImageOutcome]) -> int:
        """Record outcomes, and add images for those of dropped files; return how many were new."""
        if not outcomes:
            return 0
        recorded = self._catalog.record(outcomes, self._clock())
        new, unknown = recorded.new, recorded.unknown
        if recorded.replaced:
            self._dead_letters.forget_reads()
        if dropped := [outcome for outcome in unknown if outcome.origin is not None]:
            self._housekeeping.make_room({outcome.batch_id for outcome in dropped})
            late = self._drops.adopt(dropped, self._settings.default_pool, self._clock())
            self._housekeeping.remove_results({(outcome.batch_id, outcome.image_id) for outcome in late})
            adopted = self._catalog.record(dropped, self._clock())
            new += adopted.new
            unknown = [outcome for outcome in unknown if outcome.origin is None] + adopted.unknown
        if unknown:
            self._handle_unknown(unknown)
        return new

    def _handle_unknown(self, outcomes: list[ImageOutcome]) -> None:
        """Remove the results of deleted batches. Others may belong to another catalogue and stay."""
        deleted = self._housekeeping.remove_late_results({(outcome.batch_id, outcome.image_id) for outcome in outcomes})
        strange = [
            outcome.image_id for outcome in outcomes if outcome.batch_id not in deleted and outcome.origin is None
        ]
        if strange:
            logger().warning("results of images that are not in the catalogue", images=strange[:5])

    def _keep_hidden(self, group: Sequence[Received]) -> None:
        deliveries = [received.delivery for received in group]
        try:
            self._backend.results.set_visibility(deliveries, self._settings.queue.visibility_timeout_s)
        except Unavailable as error:
            logger().debug("messages could not be kept hidden", reason=str(error))

    def sweep(self) -> None:
        """Finish everything that was left behind, including deletions and cancellations. Raises Unavailable."""
        self._sweep()
        self._housekeeping.finish(threading.Event())

    def _sweep(self) -> None:
        self._dispatch.sweep(self._clock() - _UNSENT_AFTER_S)
        self._feedback.sweep()
        for pool in self._settings.pools:
            self._dead_letters.sweep(pool, self._jobs(pool))
        self._housekeeping.mark()
        self._shrink_queues()

    def _shrink_queues(self) -> None:
        try:
            if bytes_ := self._backend.shrink_queues():
                logger().info("gave back disk space of delivered messages", bytes=bytes_)
        except Unavailable as error:  # nothing is lost, and the next sweep tries again
            logger().debug("the queues' file could not be made smaller", reason=str(error))

    def reconcile(self, *, quiet_s: float) -> int:
        """Record results that are in the store but not in the catalogue; return how many there were.

        Looks into unfinished batches that have not changed for `quiet_s`. A worker stores a result before it sends the
        message, so a lost message cannot leave a batch waiting for ever. Raises Unavailable.
        """
        found = 0
        for batch_id in self._catalog.waiting_batches(self._clock() - quiet_s):
            outcomes = self._read_stored(batch_id, self._catalog.waiting_images(batch_id))
            while group := list(islice(outcomes, GROUP)):
                found += self._record(group)
        if found:
            logger().info("found results whose messages were lost", count=found)
        return found

    def _read_stored(self, batch_id: str, image_ids: Iterable[str]) -> Iterator[ImageOutcome]:
        keys = {layout.result_key(batch_id, image_id) for image_id in image_ids}
        prefix = layout.result_key(batch_id, "").removesuffix(".json")
        for info in self._backend.store.list(prefix):
            if info.key not in keys:
                continue
            try:
                yield ImageOutcome.of(decode_result(self._backend.store.get(info.key).data))
            except (BadMessage, NotFound) as error:
                logger().error("a stored result cannot be read", key=info.key, reason=str(error))


def _new_outage() -> Outage:
    return Outage("the collector waits", "the collector goes on")
