"""The worker's stages, joined by bounded queues: receive → fetch → decode → infer → store and acknowledge.

Feedback goes from `receive` to a stage of its own, `learn`; images that a decoder was lost to go to `suspects`.
Bounded queues are the back-pressure; `Held` bounds the whole. No stage loses a message: whatever happens, it is
acknowledged after its result is safe, or given back, or (the process killed) comes back by its timeout.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from app_tier.pipeline.batching import Batching
from app_tier.pipeline.cancellation import Cancelled
from app_tier.pipeline.crash_record import Ledger, Remains, take_remains
from app_tier.pipeline.decoding import Decoding, WarmChild
from app_tier.pipeline.feedback import Learning
from app_tier.pipeline.fetching import Fetching
from app_tier.pipeline.in_flight import Held
from app_tier.pipeline.isolation import IsolatedDecoder
from app_tier.pipeline.item import Work
from app_tier.pipeline.parsing import Admission
from app_tier.pipeline.result_batching import Gathering
from app_tier.pipeline.result_writer import Finished, Outbox, Trouble
from app_tier.pipeline.suspects import Suspects
from app_tier.taggers import Prediction, Tagger
from config.settings import WorkerSettings
from core import telemetry
from core.domain.messages import Feedback, log_ids
from core.errors import DecoderLost, Unavailable
from core.storage.originals import Originals
from core.storage.ports import ObjectStore, Queue

RECEIVE_WAIT_S = 1.0
_PAUSE_S = 0.2
_HUNG_AT_MOST = 5
"""Times `decode_timeout_s` that a hung decode is borne while others in hand are finished."""


class Pipeline:
    """Runs until it is drained or fails. `failure` says why it stopped by itself; `hung_since` feeds a watchdog."""

    def __init__(
        self,
        *,
        tagger: Tagger,
        jobs: Queue,
        results: Queue,
        store: ObjectStore,
        originals: Originals,
        settings: WorkerSettings,
        visibility_timeout_s: float,
        worker_id: str,
        clock: Callable[[], float],
        max_receives: int = 10,
        notes: Path | None = None,
    ) -> None:
        """`notes` is a folder of this machine for what is in hand: a successor reads it after a crash."""
        self._tagger = tagger
        self._jobs = jobs
        self._settings = settings
        self._worker_id = worker_id
        self._clock = clock
        self.draining = threading.Event()
        self.held = Held(jobs, limit=settings.prefetch, visibility_timeout_s=visibility_timeout_s, clock=time.monotonic)
        self.trouble = Trouble(self.draining)
        self._admission = Admission(jobs, self.held, self.trouble, tagger.name)
        self._outbox = Outbox(store, results, self.held, self.trouble)
        self._isolated = WarmChild(settings, settings.decode_timeout_s)
        self._learning = Learning(
            tagger=lambda: self._tagger,
            originals=originals,
            held=self.held,
            trouble=self.trouble,
            isolated=IsolatedDecoder(settings.decode_memory_mb, settings.decode_timeout_s),
            draining=self.draining,
            learned=self._learned,
        )
        self._to_fetch: queue.Queue[Work | None] = queue.Queue()
        self._to_decode: queue.Queue[Work | None] = queue.Queue(settings.decode_threads)
        self._to_infer = Batching(settings.batch_size, settings.batch_wait_ms / 1000, lambda: len(self._on_the_way))
        self._to_finish = Gathering(self.held, per_request=results.per_request, limit=4 * settings.batch_size)
        self._notes = notes
        self._remains = Remains()
        self._ledger = Ledger(notes, worker_id)
        self._fetching = Fetching(
            originals,
            self.held,
            self.trouble,
            Cancelled(store, time.monotonic),
            self._outbox,
            found=lambda finished: self._to_finish.put([finished]),
            failed=self._fail,
            goes=self._goes,
        )
        self._decoding = Decoding(
            self._to_decode,
            settings,
            self.held,
            self._ledger,
            tagger=lambda: self._tagger,
            began=lambda work: not self._returned(work),
            decoded=self._decoded,
            suspect=self._suspect,
            guarded=self._guarded,
        )
        self._suspects = Suspects(
            jobs,
            self.held,
            self.trouble,
            prefetch=settings.prefetch,
            max_receives=max_receives,
            retry_s=settings.decode_timeout_s,
            draining=self.draining,
            handle=self._handle_suspect,
        )
        self._count = threading.Lock()
        self._on_the_way: set[str] = set()  # receipts of what is not yet at `infer`: worth waiting for
        self._receiving = threading.Lock()
        self._stop_receiving = threading.Event()
        self.images_done = 0
        """Those that were learned from too: each was work for one message."""
        self.images_failed = 0
        self.failure: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._guarded, args=(stage,), name=name, daemon=True)
            for name, stage, count in (
                ("receive", self._receive, 1),
                ("fetch", self._fetch, settings.fetch_threads),
                ("suspects", self._suspects.run, 1),
                ("infer", self._infer, 1),
                ("finish", self._finish, settings.finish_threads),
                ("learn", self._learning.run, 1),
            )
            for _ in range(count)
        ]

    # --- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        self._remains = take_remains(self._notes)
        self.held.start()
        self._decoding.start(self._remains.decoding)
        for thread in self._threads:
            thread.start()

    def succeed(self, tagger: Tagger) -> None:
        """Images are tagged by `tagger` from the next decode on; those that are further get their tags as begun."""
        self._tagger = tagger

    def drained(self, timeout_s: float) -> bool:
        """After `draining` is set: whether everything in hand is finished or given back, within `timeout_s`."""
        self._threads[0].join(timeout_s)  # its last receive may still bring messages
        received = not self._threads[0].is_alive()
        return received and self.held.wait_until_empty(timeout_s) and self._to_finish.wait_until_delivered(timeout_s)

    def close(self) -> None:
        """End all threads; after `drained`, when the queues between them are empty."""
        for _ in self._threads:
            self._to_fetch.put(None)  # more ends than readers; none is left waiting
        for _ in range(self._settings.decode_threads):
            self._to_decode.put(None)
        self._suspects.close()
        self._to_infer.close()
        self._to_finish.close()
        self._learning.close()
        for thread in self._threads:
            thread.join()
        self._decoding.join()
        self._isolated.close()
        self.held.close()
        self._ledger.close()

    def give_up(self) -> None:
        """Give back all that is in hand, once the last receive is over: it would take it up again."""
        self.draining.set()
        self._threads[0].join(2 * RECEIVE_WAIT_S)
        self._suspects.release()
        self.held.give_all_back()

    def hung_for(self) -> float:
        """Seconds that the slowest decode in this process has taken so far."""
        return self._decoding.hung_for()

    def watch(self) -> bool:
        """Whether this process has to end, as a decode hangs and nothing else is left to do. To be called every second.

        Nothing new is received from then on. Others in hand are finished first, unless they take very long too.
        """
        self._decoding.overtake()
        if self.hung_for() <= self._settings.decode_timeout_s:
            self._stop_receiving.clear()
            return False
        self._stop_receiving.set()
        return not self.held.innocent or self.hung_for() > _HUNG_AT_MOST * self._settings.decode_timeout_s

    def _guarded(self, stage: Callable[[], None]) -> None:
        try:
            stage()
        except BaseException as error:  # noqa: BLE001  # a stage has no caller: its failure ends the worker
            telemetry.logger().exception("a stage of the pipeline failed", stage=threading.current_thread().name)
            self.failure = error
            self.draining.set()

    # --- stages -------------------------------------------------------------------------------

    def _receive(self) -> None:
        while not self.draining.is_set():
            room = self.held.wait_for_room(max(1, self._settings.prefetch // 4), RECEIVE_WAIT_S)
            if not room:
                continue
            if self._stop_receiving.is_set():
                self.draining.wait(_PAUSE_S)
                continue
            with self._receiving:
                try:
                    deliveries = self.trouble.ride_out(partial(self._jobs.receive, room, RECEIVE_WAIT_S))
                except Unavailable:
                    return
                self.held.add(deliveries)
            for delivery, asked in self._admission.asked(deliveries):
                if isinstance(asked, Feedback):
                    self._learning.put(delivery, asked)
                    continue
                tagging = asked.image_id in self._remains.tagging
                work = Work(delivery, asked, suspected="tagging" if tagging else asked.suspected)
                work.timings["queue"] = max(0.0, (self._clock() - asked.submitted_at) * 1000)
                self._comes(work)
                self._to_fetch.put(work)

    def _fetch(self) -> None:
        while (work := self._to_fetch.get()) is not None:
            if self._returned(work) or not self._fetching.is_wanted(work):
                continue
            if work.suspected:
                self._suspect(work)
            elif self._fetching.read(work):
                self._to_decode.put(work)

    def _suspect(self, work: Work) -> None:
        self._goes(work)
        self._suspects.put(work)

    def _handle_suspect(self, work: Work) -> None:
        """One image by itself: a child of its own with the full time limit, then, if need be, the tagger by itself."""
        if not self._fetching.is_wanted(work):
            return
        self._comes(work)
        telemetry.logger().warning(
            "an image is decoded alone: a decoder or a worker was lost to it", **log_ids(work.job)
        )
        if not self._fetching.read(work):
            return
        try:
            problem = self._decoding.by_child(work, self._isolated)
        except DecoderLost as error:
            problem = str(error)
        if not work.claim():
            self._goes(work)
        elif work.alone and not problem:
            self._infer_alone(work)
        else:
            self._decoded(work, problem)

    def _infer_alone(self, work: Work) -> None:
        """Let the tagger see it while no innocent image is in hand: if it ends this worker, none loses a delivery."""
        self._stop_receiving.set()
        with self._receiving:
            while not self.draining.is_set() and not self.held.wait_until_innocent_are_done(_PAUSE_S):
                pass
            if not self._returned(work):
                self._decoded(work, "")
                while not self.draining.is_set() and self.held.holds(work.delivery):
                    self.held.wait_for_change(_PAUSE_S)
        self._stop_receiving.clear()

    def _decoded(self, work: Work, problem: str) -> None:
        if problem:
            self._fail(work, problem)
            return
        self._goes(work)  # first: a batch that only it completes is not to wait for it a second time
        self._to_infer.put(work)

    def _infer(self) -> None:
        while batch := self._to_infer.next():
            started = time.perf_counter()
            frames = np.stack([work.frame for work in batch])  # type: ignore[misc]  # decoded: each has its frame
            tagger: Tagger = batch[0].tagger  # type: ignore[assignment]  # and the one tagger that made all of them
            with self._ledger.tagging([work.job.image_id for work in batch]):
                predictions = tagger.infer(frames, [work.job.options for work in batch])
            for work in batch:
                work.took("infer", started, shared_by=len(batch))
            self._to_finish.put([self._finished(work, found) for work, found in zip(batch, predictions, strict=True)])

    def _finish(self) -> None:
        while group := self._to_finish.next():
            safe = group if self._outbox.deliver(group) else []
            with self._count:
                self.images_done += sum(finished.result.ok for finished in safe)
                self.images_failed += sum(not finished.result.ok for finished in safe)
            self._to_finish.delivered(group)
            for finished in safe:
                telemetry.logger().debug("a result is delivered", ok=finished.result.ok, **log_ids(finished.result))

    # --- what stages share --------------------------------------------------------------------

    def _returned(self, work: Work) -> bool:
        """While draining, what has not started is given back at once."""
        if self.draining.is_set():
            self._goes(work)
            self.held.give_back([work.delivery])
            return True
        return False

    def _fail(self, work: Work, why: str) -> None:
        """A permanent failure is a result like any other: stored, sent, acknowledged."""
        telemetry.logger().info("an image cannot be tagged", why=why, **log_ids(work.job))
        self._goes(work)
        self._to_finish.put([self._finished(work, Prediction(), f"{work.job.name}: {why}")])

    def _finished(self, work: Work, found: Prediction, error: str | None = None) -> Finished:
        version = (work.tagger or self._tagger).version
        return work.finished(found, error, version=version, worker=self._worker_id, now=self._clock())

    def _learned(self, count: int) -> None:
        with self._count:
            self.images_done += count

    def _comes(self, work: Work) -> None:
        with self._count:
            self._on_the_way.add(work.delivery.receipt)

    def _goes(self, work: Work) -> None:
        with self._count:
            self._on_the_way.discard(work.delivery.receipt)
