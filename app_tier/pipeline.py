"""The worker's stages, joined by bounded queues: receive → fetch → decode → infer → store and acknowledge.

Feedback goes from `receive` to a stage of its own, `learn`.
Bounded queues are the back-pressure; `Held` bounds the whole. No stage loses a message: whatever happens, it is
acknowledged after its result is safe, or given back, or (the process killed) comes back by its timeout.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import numpy as np
from PIL import Image

from app_tier.admission import Admission
from app_tier.batching import Batching
from app_tier.cancelled import Cancelled
from app_tier.gathering import Gathering
from app_tier.held import Held
from app_tier.isolation import IsolatedDecoder
from app_tier.learning import Learning
from app_tier.persistence import Finished, Outbox, Trouble
from app_tier.taggers import Prediction, Tagger
from app_tier.work import Work
from config.settings import WorkerSettings
from core import telemetry
from core.errors import BadImage, NotFound, Unavailable, Unreadable
from core.imaging.decode import DecodeBudget, Decoder
from core.messages import Feedback, ids_of
from core.originals import Originals
from core.picture_size import upright_size
from core.ports import ObjectStore, Queue

RECEIVE_WAIT_S = 1.0
_FETCH_TRIES = 5
_GIVE_BACK_DELAY_S = 10.0


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
    ) -> None:
        self._tagger = tagger
        self._jobs = jobs
        self._originals = originals
        self._settings = settings
        self._worker_id = worker_id
        self._clock = clock
        self.draining = threading.Event()
        self.held = Held(jobs, limit=settings.prefetch, visibility_timeout_s=visibility_timeout_s, clock=time.monotonic)
        self.trouble = Trouble(self.draining)
        self._admission = Admission(jobs, self.held, self.trouble, tagger.name)
        self._outbox = Outbox(store, results, self.held, self.trouble)
        self._cancelled = Cancelled(store, time.monotonic)
        self._budget = DecodeBudget(settings.decode_memory_mb)
        self._isolated = IsolatedDecoder(settings.decode_memory_mb, settings.decode_timeout_s)
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
        self._to_isolate: queue.Queue[Work | None] = queue.Queue()
        self._to_infer = Batching(settings.batch_size, settings.batch_wait_ms / 1000, lambda: self._on_the_way)
        self._to_finish = Gathering(self.held, per_request=results.per_request, limit=4 * settings.batch_size)
        self._decoding_since: dict[int, float] = {}
        self._count = threading.Lock()
        self._on_the_way = 0  # received and not yet at `infer`: worth waiting for
        self.images_done = 0
        """Those that were learned from too: each was work for one message."""
        self.images_failed = 0
        self.failure: BaseException | None = None
        self._threads = [
            threading.Thread(target=self._guarded, args=(stage,), name=name, daemon=True)
            for name, stage, count in (
                ("receive", self._receive, 1),
                ("fetch", self._fetch, settings.fetch_threads),
                ("decode", self._decode, settings.decode_threads),
                ("isolate", self._isolate, 1),
                ("infer", self._infer, 1),
                ("finish", self._finish, settings.finish_threads),
                ("learn", self._learning.run, 1),
            )
            for _ in range(count)
        ]

    # --- life ---------------------------------------------------------------------------------

    def start(self) -> None:
        self.held.start()
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
        for inlet in (self._to_fetch, self._to_decode, self._to_isolate):
            for _ in self._threads:
                with suppress(queue.Full):  # more ends than readers; none is left waiting
                    inlet.put_nowait(None)
        self._to_infer.close()
        self._to_finish.close()
        self._learning.close()
        for thread in self._threads:
            thread.join()
        self._isolated.close()
        self.held.close()

    def give_up(self) -> None:
        """Give back all that is in hand, once the last receive is over: it would take it up again."""
        self.draining.set()
        self._threads[0].join(2 * RECEIVE_WAIT_S)
        self.held.give_all_back()

    def hung_for(self) -> float:
        """Seconds that the slowest decode now under way has taken."""
        started = list(self._decoding_since.values())
        return time.monotonic() - min(started) if started else 0.0

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
            try:
                deliveries = self.trouble.ride_out(partial(self._jobs.receive, room, RECEIVE_WAIT_S))
            except Unavailable:
                return
            self.held.add(deliveries)
            for delivery, asked in self._admission.asked(deliveries):
                if isinstance(asked, Feedback):
                    self._learning.put(delivery, asked)
                    continue
                work = Work(delivery, asked)
                work.timings["queue"] = max(0.0, (self._clock() - asked.submitted_at) * 1000)
                self._move(+1)
                self._to_fetch.put(work)

    def _fetch(self) -> None:
        while (work := self._to_fetch.get()) is not None:
            if self._returned(work):
                continue
            try:
                if not (self._dropped(work) or self._finished_before(work)):
                    self._fetch_bytes(work)
            except (NotFound, ValueError):  # ValueError: the store knows no such keys
                self._fail(work, f"its bytes are no longer in {work.job.place}")
            except Unreadable as error:
                self._fail(work, str(error))
            except Unavailable as error:
                telemetry.logger().warning("an image is given back", why=str(error), **ids_of(work.job))
                self._move(-1)
                self.held.give_back([work.delivery], _GIVE_BACK_DELAY_S)

    def _dropped(self, work: Work) -> bool:
        """Whether its batch was cancelled; then it is acknowledged without a result, which nobody would look at."""
        if not self._cancelled.says(work.job.batch_id):
            return False
        self.trouble.ride_out(lambda: self.held.acknowledge([work.delivery]), _FETCH_TRIES)
        self._move(-1)
        return True

    def _finished_before(self, work: Work) -> bool:
        """Whether an earlier delivery stored the result and was cut off before it could acknowledge."""
        if work.delivery.receive_count == 1:
            return False
        result = self.trouble.ride_out(partial(self._outbox.found, work.job), _FETCH_TRIES)
        if result is not None:
            self._move(-1)
            self._to_finish.put([Finished(work.delivery, result, stored=True, store_only=work.job.store_only)])
        return result is not None

    def _fetch_bytes(self, work: Work) -> None:
        started = time.perf_counter()
        read = partial(self._originals.of_job, work.job)
        work.job, work.data = self.trouble.ride_out(read, _FETCH_TRIES)
        work.took("fetch", started)
        alone = work.delivery.receive_count >= self._settings.isolate_receive
        if alone:
            telemetry.logger().warning("an image is decoded alone: it may have ended a worker", **ids_of(work.job))
        (self._to_isolate if alone else self._to_decode).put(work)

    def _decode(self) -> None:
        me = threading.get_ident()
        while (work := self._to_decode.get()) is not None:
            if self._returned(work):
                continue
            self._decoding_since[me] = time.monotonic()
            problem = self._problem(lambda data, side: Decoder(side, self._budget).decode(data), work)
            del self._decoding_since[me]  # waiting for a slow tagger is no hanging
            self._decoded(work, problem)

    def _isolate(self) -> None:
        while (work := self._to_isolate.get()) is not None:
            if not self._returned(work):
                self._decoded(work, self._problem(self._isolated.decode, work))

    def _problem(self, decode: Callable[[bytes, int], Image.Image], work: Work) -> str:
        """Why the image cannot be decoded; empty once it has its frame."""
        started = time.perf_counter()
        tagger = work.tagger = self._tagger
        try:
            work.frame = tagger.preprocess(decode(work.data, tagger.side))
        except BadImage as error:
            return str(error)
        if work.delivery.receive_count < self._settings.isolate_receive:  # else its header may end this process
            work.size = upright_size(work.data)
        work.data = b""
        work.took("decode", started)
        return ""

    def _decoded(self, work: Work, problem: str) -> None:
        if problem:
            self._fail(work, problem)
            return
        self._move(-1)  # first: a batch that only it completes is not to wait for it a second time
        self._to_infer.put(work)

    def _infer(self) -> None:
        while batch := self._to_infer.next():
            started = time.perf_counter()
            frames = np.stack([work.frame for work in batch])  # type: ignore[misc]  # decoded: each has its frame
            tagger: Tagger = batch[0].tagger  # type: ignore[assignment]  # and the one tagger that made all of them
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
                telemetry.logger().debug("a result is delivered", ok=finished.result.ok, **ids_of(finished.result))

    # --- what stages share --------------------------------------------------------------------

    def _returned(self, work: Work) -> bool:
        """While draining, what has not started is given back at once."""
        if self.draining.is_set():
            self._move(-1)
            self.held.give_back([work.delivery])
            return True
        return False

    def _fail(self, work: Work, why: str) -> None:
        """A permanent failure is a result like any other: stored, sent, acknowledged."""
        telemetry.logger().info("an image cannot be tagged", why=why, **ids_of(work.job))
        self._move(-1)
        self._to_finish.put([self._finished(work, Prediction(), f"{work.job.name}: {why}")])

    def _finished(self, work: Work, found: Prediction, error: str | None = None) -> Finished:
        version = (work.tagger or self._tagger).version
        return work.finished(found, error, version=version, worker=self._worker_id, now=self._clock())

    def _learned(self, count: int) -> None:
        with self._count:
            self.images_done += count

    def _move(self, change: int) -> None:
        with self._count:
            self._on_the_way += change
