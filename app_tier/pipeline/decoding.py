"""The decode stage: threads that decode in this process, or each in a child process if that is safer.

1. Decoding in this process is fast, but a file that crashes or hangs the decoder ends the whole process. In a child it
   costs only the child, and about 2.5 ms more per image.
2. So an image is decoded here on its first delivery, and in a child on every later one: if it ended the worker that
   had it before, it will not end this one. All images are decoded in children while this worker has an unsuspected
   image that came back, while a decode here hangs, and for some time after a predecessor died in a decoder.
3. A decode here that takes longer than a tenth of `decode_timeout_s` is overtaken: a new thread replaces its thread,
   and tries the image in a child. The old thread cannot be stopped. If it runs until `decode_timeout_s`, the process
   ends, after the other images in flight are done.
4. If a child crashes or takes longer than that tenth, its image, and only that one, becomes a suspect.
5. If the tagger has a device that decodes JPEGs, a plain one on its first delivery passes this stage as a file. It
   comes back if the device refuses it.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from queue import Queue

from app_tier.pipeline.child_decoder import ChildDecoder, expected_decode_s
from app_tier.pipeline.crash_record import CrashRecord
from app_tier.pipeline.flow import Flow
from app_tier.pipeline.item import DecodeAttempt, WorkItem
from app_tier.taggers import DeviceTagger, Tagger
from config.settings import WorkerSettings
from core import telemetry
from core.domain.messages import log_ids
from core.errors import BadImage, DecoderLost
from core.imaging.decode import UPRIGHT_SIZE, DecodeBudget, Decoder
from core.imaging.plain_jpeg import read_plain_jpeg

_FIRST_SHARE = 0.1
"""The share of `decode_timeout_s` after which a decode is overtaken."""
_FIRST_S = 1.0
"""The least time before a decode is overtaken, for busy machines."""
_CAREFUL_S = 300.0
_JOIN_S = 0.5


class DecodeQueue(Queue[WorkItem | None]):
    """A bounded queue into which the infer stage can put images back: that never blocks, or the two would deadlock."""

    def put_back(self, item: WorkItem) -> None:
        """Put an image before all others, whether or not there is room."""
        with self.mutex:
            self.queue.appendleft(item)
            self.unfinished_tasks += 1
            self.not_empty.notify()


class Decoding:
    """Takes images from `inlet`, decodes them, and calls `decoded` with the problem, if any, or `suspect`."""

    def __init__(
        self,
        flow: Flow,
        settings: WorkerSettings,
        crash_record: CrashRecord,
        inlet: DecodeQueue,
        *,
        tagger: Callable[[], Tagger],
        decoded: Callable[[WorkItem, str], None],
        suspect: Callable[[WorkItem], None],
    ) -> None:
        """`tagger` returns the one that serves now."""
        self._flow = flow
        self._settings = settings
        self._crash_record = crash_record
        self._inlet = inlet
        self._tagger = tagger
        self._decoded = decoded
        self._suspect = suspect
        self._budget = DecodeBudget(settings.decode_memory_mb, expected_decode_s(settings.decode_timeout_s))
        self._careful_until = 0.0
        self._running = RunningDecodes()
        self._threads: list[threading.Thread] = []

    def start(self, threads: int, predecessor_decoded: Collection[str] = ()) -> None:
        """Start so many threads. `predecessor_decoded` are the images in the decoders of a process that died here."""
        if predecessor_decoded:
            self._careful_until = time.monotonic() + _CAREFUL_S
            telemetry.logger().warning(
                "a worker died while decoding: for a while all images are decoded in child processes",
                images=sorted(predecessor_decoded),
                for_s=_CAREFUL_S,
            )
        for _ in range(threads):
            self._start_thread()

    def join(self) -> None:
        """Wait for all threads to end whose decode does not hang."""
        for thread in self._threads:
            while thread.is_alive() and not self._running.is_in(thread):
                thread.join(_JOIN_S)

    def hung_for(self) -> float:
        """Return how many seconds the slowest decode in this process has taken so far."""
        return self._running.longest_s()

    def overtake(self) -> None:
        """Start a second attempt for decodes in this process that are slow. To be called every second or so."""
        for attempt in self._running.overtake(self._first_s):
            telemetry.logger().warning(
                "a decode takes long: tried again in a child process", **log_ids(attempt.item.job)
            )
            self._start_thread(attempt.item.second_attempt(attempt))

    @property
    def _first_s(self) -> float:
        timeout_s = self._settings.decode_timeout_s
        return min(timeout_s, max(_FIRST_S, timeout_s * _FIRST_SHARE))

    def _start_thread(self, first: WorkItem | None = None) -> None:
        thread = threading.Thread(
            target=self._flow.run_stage, args=(lambda: self._run(first),), name="decode", daemon=True
        )
        self._threads.append(thread)
        thread.start()

    def _run(self, first: WorkItem | None) -> None:
        """Decode `first` in a child, then what comes, until the inlet ends or another thread took this one's place."""
        child = ChildDecoder(self._settings.decode_memory_mb, self._settings.decode_timeout_s, self._first_s)
        try:
            if first is not None:
                self._try_in_child(first, child)
            while (item := self._inlet.get()) is not None:
                if self._flow.release_if_draining(item):
                    continue
                if self._needs_child(item):
                    self._try_in_child(item, child)
                else:
                    child.close_if_idle()
                    if not self._try_here(item):
                        return
        finally:
            child.close()

    def decode_again(self, item: WorkItem) -> None:
        """Take an image back that the tagger's device has refused. For the infer stage; never blocks."""
        item.jpeg, item.refused_by_device = None, True
        self._flow.expect_at_infer(item)
        self._inlet.put_back(item)

    def _needs_child(self, item: WorkItem) -> bool:
        receives = self._settings.isolate_receive
        return (
            item.delivery.receive_count >= receives
            or time.monotonic() < self._careful_until
            or self._running.any_overtaken()
            or self._flow.in_flight.has_redelivered(receives)
        )

    def _try_here(self, item: WorkItem) -> bool:
        """Decode in this process. Return False if another thread has taken this one's place."""
        with self._running.track(item, item.data) as attempt, self._crash_record.decoding(item.job.image_id):
            problem = self._decode_here(item)
        claimed = attempt.claim()
        attempt.data = b""  # its room is given back next; a second attempt has taken its own
        if claimed:  # not tracked any more: waiting for a slow tagger is not hanging
            self._decoded(item, problem)
        return not attempt.overtaken

    def _decode_here(self, item: WorkItem) -> str:
        started = time.perf_counter()
        tagger = item.tagger = self._tagger()
        if self._pass_to_device(item, tagger):
            item.record_time("decode", started)
            return ""
        try:
            image = Decoder(tagger.side, self._budget).decode(item.data)
            item.frame = tagger.preprocess(image)
        except BadImage as error:
            return str(error)
        item.size = image.info[UPRIGHT_SIZE]
        item.data = b""
        item.record_time("decode", started)
        return ""

    def _pass_to_device(self, item: WorkItem, tagger: Tagger) -> bool:
        """Keep the file for the device's decoder, if it is one that the device is to decode."""
        if item.refused_by_device or not (isinstance(tagger, DeviceTagger) and tagger.decodes_jpegs):
            return False
        item.jpeg = read_plain_jpeg(item.data)
        if item.jpeg is None:
            return False
        item.size = item.jpeg.upright_size
        return True

    def _try_in_child(self, item: WorkItem, child: ChildDecoder) -> None:
        try:
            problem = self.decode_in_child(item, child)
        except DecoderLost:
            self._suspect(item)
            return
        if item.claim():
            self._decoded(item, problem)

    def decode_in_child(self, item: WorkItem, child: ChildDecoder) -> str:
        """Decode in a child process. Return the image's problem; empty if it has its frame. Raises DecoderLost."""
        started = time.perf_counter()
        tagger = item.tagger = self._tagger()
        try:
            image = child.decode(item.data, tagger.side)
        except DecoderLost:
            raise
        except BadImage as error:
            return str(error)
        item.size = image.info[UPRIGHT_SIZE]
        with self._running.track(item), self._crash_record.decoding(item.job.image_id):
            item.frame = tagger.preprocess(image)
        item.data = b""
        item.record_time("decode", started)
        return ""


class RunningDecodes:
    """The attempts at decoding or preprocessing that run in this process, by thread. Safe for several threads."""

    def __init__(self) -> None:
        self._attempts: dict[int, DecodeAttempt] = {}
        self._lock = threading.Lock()

    @contextmanager
    def track(self, item: WorkItem, data: bytes = b"") -> Iterator[DecodeAttempt]:
        """Track this thread's attempt while the block runs. Only one with `data` can be overtaken."""
        attempt, thread_id = DecodeAttempt(item, data, time.monotonic()), threading.get_ident()
        with self._lock:
            self._attempts[thread_id] = attempt
        try:
            yield attempt
        finally:
            with self._lock:
                del self._attempts[thread_id]

    def longest_s(self) -> float:
        """Return how many seconds the slowest attempt has taken so far. 0 if none runs."""
        started = [attempt.started for attempt in list(self._attempts.values())]
        return time.monotonic() - min(started) if started else 0.0

    def any_overtaken(self) -> bool:
        """Return whether an overtaken attempt still runs."""
        return any(attempt.overtaken for attempt in list(self._attempts.values()))

    def is_in(self, thread: threading.Thread) -> bool:
        """Return whether an attempt runs in this thread."""
        return thread.ident in self._attempts

    def overtake(self, after_s: float) -> list[DecodeAttempt]:
        """Mark the attempts that have taken longer than `after_s` as overtaken, and return them."""
        now = time.monotonic()
        with self._lock:
            slow = [
                attempt
                for attempt in self._attempts.values()
                if attempt.data and now - attempt.started > after_s and not attempt.overtaken
            ]
            for attempt in slow:
                attempt.overtaken = True
        return slow
