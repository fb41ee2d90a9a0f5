"""The collector: brings results from the output queue into the catalogue, and looks after what was forgotten."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from itertools import islice

from config.settings import Settings
from core.domain.messages import Result, decode_output, decode_result, encode
from core.errors import BadMessage, NotFound, PartialSend, Unavailable
from core.storage import layout
from core.storage.ports import Delivery
from core.telemetry import logger
from core.wiring import Backend
from web_tier.catalog.drops import DropCatalog
from web_tier.catalog.feedback import FeedbackCatalog
from web_tier.catalog.lifecycle import LifecycleCatalog
from web_tier.catalog.results import Outcome, ResultCatalog
from web_tier.collector.dead_letter_sweeper import DeadLetterSweeper
from web_tier.services.feedback_publisher import FeedbackPublisher
from web_tier.services.lifecycle import Housekeeping

GROUP = 100
_WAIT_S = 1.0
_LINGER_S = 0.05
_GATHER_S = 1.0
_UNSENT_AFTER_S = 5.0
_QUIET_S = 60.0
_RECONCILE_EVERY = 30
_BACK_OFF_S = (0.2, 5.0)


class Collector:
    """`clock` gives Unix seconds. Whatever it is interrupted at, running it again ends in the same catalogue."""

    def __init__(
        self,
        backend: Backend,
        catalog: ResultCatalog,
        settings: Settings,
        clock: Callable[[], float],
        step: Callable[[str], None] = lambda _name: None,
    ) -> None:
        """`step` is told what begins now, so that others can tell a long step from one that hangs."""
        self._step = step
        self._backend = backend
        self._jobs = cache(backend.jobs)
        self._catalog = catalog
        self._settings = settings
        self._clock = clock
        self._drops = DropCatalog(catalog.database)
        self._housekeeping = Housekeeping(backend.store, LifecycleCatalog(catalog.database), settings.collector, clock)
        self._teaching = FeedbackPublisher(self._jobs, FeedbackCatalog(catalog.database), settings.learning_pools)
        self._busy = False
        self._letters = DeadLetterSweeper(backend.store, catalog, settings.queue.max_receives, clock, self._record)

    def run(self, stop: threading.Event) -> None:
        """Collect until `stop` is set; the group in hand is finished. What does not answer is tried again.

        Large batches are removed and cancelled by a thread of their own meanwhile: no result waits for them.
        """
        finishing = threading.Thread(target=self._housekeeping.run, args=(stop,), name="housekeeping")
        finishing.start()
        try:
            self._run(stop)
        finally:
            stop.set()
            finishing.join()

    def _run(self, stop: threading.Event) -> None:
        swept_at, sweeps = float("-inf"), 0
        collecting, sweeping = _Trouble(stop, self._step), _Trouble(stop, self._step)
        while not stop.is_set():
            self._step("collect")
            try:
                self.collect(stop)
                collecting.over()
            except Unavailable as error:
                collecting.wait(error)
            if time.monotonic() - swept_at < self._settings.collector.sweep_s:
                continue
            swept_at = time.monotonic()
            try:
                self._step("sweep")
                self._look_after()
                self._step("reconcile")
                if sweeps % _RECONCILE_EVERY == 0:
                    self.reconcile(quiet_s=_QUIET_S if sweeps else 0.0)
                sweeps += 1
                sweeping.over()
            except Unavailable as error:
                sweeping.wait(error)

    def collect(self, stop: threading.Event | None = None, wait_s: float = _WAIT_S) -> int:
        """Bring one group of results in; how many were new. Raises Unavailable only while it holds no message."""
        queue = self._backend.results
        paid = queue.per_request > 1
        if paid and self._busy:
            (stop or threading.Event()).wait(_GATHER_S)  # a receive that waits takes the first to come, and no more
        deliveries = queue.receive(GROUP, wait_s)
        until = time.monotonic() + (0.0 if paid else _LINGER_S)
        while deliveries and self._busy and len(deliveries) < GROUP and (left := until - time.monotonic()) > 0:
            deliveries += queue.receive(GROUP - len(deliveries), left)
        self._busy = bool(deliveries)
        return self._bring_in(deliveries, stop or threading.Event()) if deliveries else 0

    def _bring_in(self, deliveries: list[Delivery], stop: threading.Event) -> int:
        """Deletes only what is written down. The messages in hand are kept from others while the catalogue is away."""
        trouble = _Trouble(stop, self._step)
        while True:
            try:
                read = [(delivery, self._read(delivery)) for delivery in deliveries]
                done = [delivery for delivery, result in read if result is not None]
                new = self._record([Outcome.of(result) for _, result in read if result is not None])
                self._backend.results.delete(done)
            except Unavailable as error:
                if stop.is_set():
                    raise  # they come back after the visibility timeout
                trouble.wait(error)
                self._keep_hidden(deliveries)
            else:
                trouble.over()
                return new

    def _read(self, delivery: Delivery) -> Result | None:
        """The result; None for a message that cannot be read, which is left to become a dead letter."""
        try:
            message = decode_output(delivery.body)
            if message.result is not None:
                return message.result
            return decode_result(self._backend.store.get(message.result_key or "").data)
        except (BadMessage, NotFound, ValueError) as error:  # ValueError: what it points to is no key
            logger().error("a result cannot be read", reason=str(error), receives=delivery.receive_count)
            return None

    def _record(self, outcomes: list[Outcome]) -> int:
        if not outcomes:
            return 0
        recorded = self._catalog.record(outcomes, self._clock())
        new, unknown = recorded.new, recorded.unknown
        if recorded.replaced:
            self._letters.look_again()
        if dropped := [outcome for outcome in unknown if outcome.origin is not None]:
            self._housekeeping.make_room({outcome.batch_id for outcome in dropped})
            late = self._drops.adopt(dropped, self._settings.default_pool, self._clock())
            self._housekeeping.forget({(outcome.batch_id, outcome.image_id) for outcome in late})
            adopted = self._catalog.record(dropped, self._clock())
            new += adopted.new
            unknown = [outcome for outcome in unknown if outcome.origin is None] + adopted.unknown
        if unknown:
            self._unknown(unknown)
        return new

    def _unknown(self, outcomes: list[Outcome]) -> None:
        """Results of deleted batches are removed; others may belong to another catalogue, and are let be."""
        deleted = self._housekeeping.forget_late({(outcome.batch_id, outcome.image_id) for outcome in outcomes})
        strange = [
            outcome.image_id for outcome in outcomes if outcome.batch_id not in deleted and outcome.origin is None
        ]
        if strange:
            logger().warning("results of images that are not in the catalogue", images=strange[:5])

    def _keep_hidden(self, deliveries: list[Delivery]) -> None:
        try:
            self._backend.results.set_visibility(deliveries, self._settings.queue.visibility_timeout_s)
        except Unavailable as error:
            logger().debug("messages could not be kept hidden", reason=str(error))

    def sweep(self) -> None:
        """Send what was accepted or decided and not sent, give images up whose jobs are dead letters, and keep house.

        Raises Unavailable.
        """
        self._look_after()
        self._housekeeping.finish(threading.Event())

    def _look_after(self) -> None:
        self._send_forgotten()
        self._teaching.sweep()
        for pool in self._settings.pools:
            self._letters.look(pool, self._jobs(pool))
        self._housekeeping.mark()

    def _send_forgotten(self) -> None:
        while unsent := self._catalog.unsent(self._clock() - _UNSENT_AFTER_S, GROUP):
            logger().info("sending jobs that an upload left behind", count=len(unsent))
            for pool in sorted({pool for pool, _ in unsent}):
                jobs = [job for of, job in unsent if of == pool]
                missing: set[int] = set()
                try:
                    self._jobs(pool).send([encode(job) for job in jobs])
                except PartialSend as error:
                    missing = set(error.unsent)
                self._catalog.mark_sent([job.image_id for n, job in enumerate(jobs) if n not in missing])
                if missing:
                    return  # the next sweep tries again

    def reconcile(self, *, quiet_s: float) -> int:
        """Find results that are in the store and not in the catalogue, in unfinished batches quiet for so long.

        A worker stores a result before it sends it, so a lost message cannot leave a batch waiting for ever.
        Returns how many were found; raises Unavailable.
        """
        found = 0
        for batch_id in self._catalog.waiting_batches(self._clock() - quiet_s):
            waiting = self._catalog.waiting_images(batch_id)
            outcomes = self._stored(batch_id, waiting)
            while group := list(islice(outcomes, GROUP)):
                found += self._record(group)
        if found:
            logger().info("found results whose messages were lost", count=found)
        return found

    def _stored(self, batch_id: str, waiting: Iterable[str]) -> Iterator[Outcome]:
        keys = {layout.result_key(batch_id, image_id) for image_id in waiting}
        prefix = layout.result_key(batch_id, "").removesuffix(".json")
        for info in self._backend.store.list(prefix):
            if info.key not in keys:
                continue
            try:
                yield Outcome.of(decode_result(self._backend.store.get(info.key).data))
            except (BadMessage, NotFound) as error:
                logger().error("a stored result cannot be read", key=info.key, reason=str(error))


class _Trouble:
    """Logs once that something does not answer, waits longer each time, and says when it is over."""

    def __init__(self, stop: threading.Event, step: Callable[[str], None]) -> None:
        self._stop = stop
        self._step = step
        self._pause, self._longest = _BACK_OFF_S
        self._tries = 0

    def wait(self, error: Unavailable) -> None:
        if not self._tries:
            logger().error("the collector waits: something does not answer", reason=str(error))
        self._tries += 1
        self._step("wait")
        self._stop.wait(self._pause)
        self._pause = min(2 * self._pause, self._longest)

    def over(self) -> None:
        if self._tries:
            logger().info("the collector goes on", tries=self._tries)
            self._tries = 0
            self._pause = _BACK_OFF_S[0]
