"""A worker's stages, joined by bounded queues: receive → fetch → decode → infer → finish.

1. Each stage is one or more threads. It takes an image from its queue, works on it, and puts it into the next one.
2. The queues are bounded, so a slow stage holds back those before it. `InFlight` bounds the whole.
3. Two side ways leave the main one. Feedback goes from `receive` to `learn`. Images that may crash a decoder or the
   tagger go to `suspects`, which works on them one at a time.
4. No stage loses a message. It is acknowledged after its result is safe, or released, or, if the process dies, it
   comes back by its visibility timeout.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from app_tier.pipeline.batching import InferenceBatcher
from app_tier.pipeline.call_watch import CallWatch
from app_tier.pipeline.child_decoder import ChildDecoder
from app_tier.pipeline.crash_record import CrashRecord, CrashReport, collect_crash_report
from app_tier.pipeline.crew import Crew
from app_tier.pipeline.decoding import DecodeQueue, Decoding
from app_tier.pipeline.feedback import Learning
from app_tier.pipeline.fetching import Cancellations, Fetching
from app_tier.pipeline.finishing import Finishing
from app_tier.pipeline.flow import Flow
from app_tier.pipeline.hangs import HangWatch
from app_tier.pipeline.in_flight import InFlight
from app_tier.pipeline.inference import Inference
from app_tier.pipeline.item import WorkItem
from app_tier.pipeline.parsing import MessageParser
from app_tier.pipeline.receiving import RECEIVE_WAIT_S, Receiving
from app_tier.pipeline.resources import measure_resources, return_large_blocks
from app_tier.pipeline.result_batching import ResultBatcher
from app_tier.pipeline.result_writer import FinishedItem, ResultWriter
from app_tier.pipeline.sizing import Resources, Sizes, Sizing
from app_tier.pipeline.suspects import SuspectHandler, SuspectLimits, Suspects
from app_tier.pipeline.tuning import Tuner
from app_tier.taggers import Prediction, Tagger
from config.settings import WorkerSettings
from core.domain.messages import Feedback, Job
from core.storage.originals import Originals
from core.storage.ports import Delivery, ObjectStore, Queue


@dataclass(frozen=True, slots=True)
class PipelinePorts:
    """Where messages and images come from, and where results go."""

    jobs: Queue
    results: Queue
    store: ObjectStore
    originals: Originals


@dataclass(frozen=True, slots=True)
class PipelineOptions:
    """A pipeline's settings. `crash_folder` is a folder of this machine for the crash record.

    `decoding` makes the decode stage. `python -m bench feed` replaces it by one that decodes nothing.
    """

    worker: WorkerSettings
    worker_id: str
    visibility_timeout_s: float
    max_receives: int = 10
    crash_folder: Path | None = None
    resources: Resources = field(default_factory=measure_resources)
    decoding: type[Decoding] = Decoding


class Pipeline:
    """Tags images until it is told to drain, by `draining`, or a stage fails, which sets `draining` too."""

    def __init__(
        self, tagger: Tagger, ports: PipelinePorts, options: PipelineOptions, clock: Callable[[], float] = time.time
    ) -> None:
        settings = options.worker
        sizing = Sizing(settings, tagger.best_batch, ports.jobs.per_request, options.resources)
        sizes = sizing.first()
        self.in_flight = InFlight(
            ports.jobs,
            limit=sizes.prefetch,
            visibility_timeout_s=options.visibility_timeout_s,
            clock=time.monotonic,
        )
        self._flow = Flow(self.in_flight, settings.fetched_mb << 20)
        self._tagger = tagger
        self._options = options
        self._clock = clock
        self._crash_record = CrashRecord(options.crash_folder, options.worker_id)
        self._crash_report = CrashReport()
        self._queues = _Queues(
            to_fetch=queue.SimpleQueue(),
            to_decode=DecodeQueue(max(2 * sizes.decode_threads, sizes.batch)),
            to_infer=InferenceBatcher(sizes.batch, settings.batch_wait_ms / 1000, self._flow.expected_at_infer),
        )
        self._stages = self._make_stages(ports, sizes)
        self.hangs = HangWatch(self._flow, settings, self._stages.decoding, self._stages.tagger_calls)
        self._fetchers = Crew("fetch", self._fetch, self._flow.run_stage, sizes.fetch_threads)
        self._finishers = Crew("finish", self._stages.finishing.write_next, self._flow.run_stage, sizes.finish_threads)
        self._tuner = Tuner(sizing, self._fetchers, self._finishers, self.in_flight)
        self._threads = [
            threading.Thread(target=self._flow.run_stage, args=(stage,), name=name, daemon=True)
            for name, stage in (
                ("infer", self._stages.inference.run),
                ("results", self._stages.finishing.make_results),
                ("suspects", self._stages.suspects.run),
                ("learn", self._stages.learning.run),
            )
        ]

    def _make_stages(self, ports: PipelinePorts, sizes: Sizes) -> _Stages:
        settings, flow = self._options.worker, self._flow
        writer = ResultWriter(ports.store, ports.results, self.in_flight, flow.retrier)
        finishing = Finishing(
            flow,
            writer,
            ResultBatcher(
                self.in_flight,
                per_request=ports.results.per_request,
                limit=max(4 * sizes.batch, sizes.prefetch),
                draining=flow.draining,
            ),
            self._finished,
            measured=lambda seconds, count: self._tuner.finished(seconds, count),
        )
        fetching = Fetching(
            flow,
            ports.originals,
            Cancellations(ports.store, time.monotonic),
            writer,
            finished=finishing.put,
            failed=finishing.fail,
            measured=lambda seconds: self._tuner.fetched(seconds),
        )
        decoding = self._options.decoding(
            flow,
            settings,
            self._crash_record,
            self._queues.to_decode,
            tagger=lambda: self._tagger,
            decoded=self._decoded,
            suspect=self._suspect,
        )
        tagger_calls = CallWatch()
        return _Stages(
            receiving=Receiving(flow, ports.jobs, self._received),
            parser=MessageParser(ports.jobs, self.in_flight, flow.retrier, self._tagger.name),
            fetching=fetching,
            decoding=decoding,
            inference=Inference(
                self._queues.to_infer, self._crash_record, finishing.put_tagged, decoding.decode_again, tagger_calls
            ),
            tagger_calls=tagger_calls,
            finishing=finishing,
            suspects=Suspects(
                flow,
                ports.jobs,
                SuspectLimits(sizes.prefetch, self._options.max_receives, settings.decode_timeout_s),
                SuspectHandler(
                    flow,
                    fetching,
                    decoding,
                    ChildDecoder(settings.decode_memory_mb, settings.decode_timeout_s),
                    self._decoded,
                ),
            ),
            learning=Learning(
                flow,
                ports.originals,
                ChildDecoder(settings.decode_memory_mb, settings.decode_timeout_s),
                tagger=lambda: self._tagger,
            ),
        )

    # --- what its owner sees ------------------------------------------------------------------

    @property
    def draining(self) -> threading.Event:
        """Set it to stop receiving, and to release images that have not begun their next stage."""
        return self._flow.draining

    @property
    def failure(self) -> BaseException | None:
        """The error of a stage that failed."""
        return self._flow.failure

    @property
    def notice(self) -> str:
        """Say for people why the pipeline waits. Empty if nothing is wrong."""
        return self._flow.health.notice

    def set_problem(self, part: str, problem: str) -> None:
        """Set a problem of another part of the worker. An empty one clears it."""
        self._flow.health.set(part, problem)

    @property
    def images_done(self) -> int:
        """Images tagged, and messages of feedback learned."""
        return self._flow.images_done

    @property
    def images_failed(self) -> int:
        """Images that ended with an error."""
        return self._flow.images_failed

    @property
    def sizes(self) -> Sizes:
        """How much it does at once now."""
        return self._tuner.sizes

    @property
    def receive_threads(self) -> int:
        """How many requests for messages may be under way now."""
        return self._stages.receiving.count

    @property
    def most_fetched_bytes(self) -> int:
        """The most bytes of images that were held at any time between fetch and decode."""
        return self._flow.fetched.most_held

    def start(self) -> None:
        """Start all stages."""
        return_large_blocks()
        self._crash_report = collect_crash_report(self._options.crash_folder)
        self.in_flight.start()
        self._stages.decoding.start(self._tuner.sizes.decode_threads, self._crash_report.decoding)
        for thread in self._threads:
            thread.start()
        self._finishers.start()
        self._fetchers.start()
        self._stages.receiving.start()

    def set_tagger(self, tagger: Tagger) -> None:
        """Use `tagger` from the next decode on. Images that are further along get their tags from the present one."""
        self._tagger = tagger

    def wait_until_drained(self, timeout_s: float) -> bool:
        """Wait for three steps, up to `timeout_s` each: the last receive, the messages in flight, the results.

        Return whether all are finished or released. `draining` must be set.
        """
        return (
            self._stages.receiving.join(timeout_s)  # the last receives may still bring messages
            and self.in_flight.wait_until_empty(timeout_s)
            and self._stages.finishing.wait_until_written(timeout_s)
        )

    def close(self) -> None:
        """End all threads. Only after `wait_until_drained`, when the queues are empty."""
        self._queues.to_fetch.put(None)
        for _ in range(self._tuner.sizes.decode_threads):
            self._queues.to_decode.put(None)
        self._stages.suspects.close()
        self._queues.to_infer.close()
        self._stages.finishing.close()
        self._stages.learning.close()
        self._fetchers.join()
        self._finishers.join()
        for thread in self._threads:
            thread.join()
        self._stages.decoding.join()
        self.in_flight.close()
        self._crash_record.close()

    def release_all(self) -> None:
        """Stop receiving and release everything in flight. For a worker that cannot finish it."""
        self.draining.set()
        self._stages.receiving.join(2 * RECEIVE_WAIT_S)  # or a last receive would bring messages back
        self._stages.suspects.release()
        self.in_flight.release_all()

    # --- receive: see receiving.py ------------------------------------------------------------

    def _received(self, deliveries: Sequence[Delivery]) -> None:
        """Pass each message to `fetch` or `learn`."""
        for delivery, work in self._stages.parser.parse(deliveries):
            if isinstance(work, Feedback):
                self._stages.learning.put(delivery, work)
            else:
                self._queues.to_fetch.put(self._begin(delivery, work))

    def _begin(self, delivery: Delivery, job: Job) -> WorkItem:
        was_tagged = job.image_id in self._crash_report.tagging
        item = WorkItem(delivery, job, suspected="tagging" if was_tagged else job.suspected)
        item.timings["queue"] = max(0.0, (self._clock() - job.submitted_at) * 1000)
        self._flow.expect_at_infer(item)
        return item

    # --- fetch --------------------------------------------------------------------------------

    def _fetch(self) -> bool:
        """Read the bytes of the next image, if it is still wanted. Return False once there will be no more images."""
        item = self._queues.to_fetch.get()
        if item is None:
            self._queues.to_fetch.put(None)  # for the other threads
            return False
        if self.draining.is_set():
            self._flow.release([item, *self._take_unfetched()])
        elif self._stages.fetching.is_wanted(item):
            if item.suspected:
                self._suspect(item)
            elif self._stages.fetching.fetch(item):
                self._queues.to_decode.put(item)
        return True

    def _take_unfetched(self) -> Iterator[WorkItem]:
        """Take all images that wait for `fetch`: released together, they cost fewer requests."""
        with suppress(queue.Empty):
            while (item := self._queues.to_fetch.get_nowait()) is not None:
                yield item
            self._queues.to_fetch.put(None)

    # --- decode: see decoding.py --------------------------------------------------------------

    def _decoded(self, item: WorkItem, problem: str) -> None:
        """Pass on an image that has its frame, or that cannot be decoded."""
        if problem:
            self._stages.finishing.fail(item, problem)
            return
        # Before `put`: the batch must not wait for the image that completes it.
        self._flow.stop_expecting(item, keep_bytes=bool(item.data))
        self._queues.to_infer.put(item)

    # --- finish: see finishing.py -------------------------------------------------------------

    def _finished(self, item: WorkItem, prediction: Prediction, error: str | None) -> FinishedItem:
        version = (item.tagger or self._tagger).version
        return item.finish(prediction, error, version=version, worker=self._options.worker_id, now=self._clock())

    # --- suspects: see suspects.py ------------------------------------------------------------

    def _suspect(self, item: WorkItem) -> None:
        """Let an image that may crash a decoder or the tagger wait for its turn alone."""
        self._flow.stop_expecting(item)
        self._stages.suspects.put(item)


@dataclass(frozen=True, slots=True)
class _Queues:
    """The queues between the stages, in the order of an image's way."""

    to_fetch: queue.SimpleQueue[WorkItem | None]
    to_decode: DecodeQueue
    to_infer: InferenceBatcher


@dataclass(frozen=True, slots=True)
class _Stages:
    """The parts that the stages run."""

    receiving: Receiving
    parser: MessageParser
    fetching: Fetching
    decoding: Decoding
    inference: Inference
    tagger_calls: CallWatch
    finishing: Finishing
    suspects: Suspects
    learning: Learning
