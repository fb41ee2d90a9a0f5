"""One image on its way through the stages."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Literal

from app_tier.pipeline.fetched_bytes import ImageBytes
from app_tier.pipeline.result_writer import FinishedItem
from app_tier.taggers import Frame, Prediction, Tagger
from core.domain.messages import Job, Result, Timings
from core.imaging.plain_jpeg import PlainJpeg
from core.storage.ports import Delivery


@dataclass(slots=True)
class WorkItem:
    """An image's message and job, and what the stages have made of it so far."""

    delivery: Delivery
    job: Job
    data: bytes = b""
    held: ImageBytes | None = None
    """The room that `data` takes, shared by the attempts at the image."""
    frame: Frame | None = None
    jpeg: PlainJpeg | None = None
    """In place of a frame: the file for the decoder on the tagger's device. `data` is kept until that has read it."""
    refused_by_device: bool = False
    """Whether that decoder refused it."""
    tagger: Tagger | None = None
    """The tagger that made the frame. Another one may serve by now."""
    size: tuple[int, int] | None = None
    """Width and height (pixels) of the upright picture at full scale, if its header could be read."""
    suspected: Literal["", "decoding", "tagging"] = ""
    """The stage that the image may crash: as in its job, or as this worker knows better."""
    slow_attempt: DecodeAttempt | None = None
    """For the second attempt at an image: the first one, which is still running in this process."""
    timings: dict[str, float] = field(default_factory=dict)
    """Milliseconds by stage."""

    @property
    def needs_own_batch(self) -> bool:
        """Whether the tagger must see it alone."""
        return self.suspected == "tagging"

    def claim(self) -> bool:
        """Return whether this attempt decides the image's outcome: always, unless a slow attempt claimed it first."""
        return self.slow_attempt is None or self.slow_attempt.claim()

    def second_attempt(self, first: DecodeAttempt) -> WorkItem:
        """Return the same image for a second decode, beside `first`."""
        return WorkItem(
            self.delivery,
            self.job,
            data=first.data,
            held=self.held,
            suspected=self.suspected,
            slow_attempt=first,
            timings=dict(self.timings),
        )

    def drop_bytes(self) -> None:
        """Drop the image's bytes, and give their room back."""
        self.data, self.jpeg = b"", None
        if self.held is not None:
            self.held.release()

    def record_time(self, stage: str, started: float, shared_by: int = 1) -> None:
        """Record a stage that began at `started` (of `time.perf_counter`) and served this many images at once."""
        self.timings[stage] = (time.perf_counter() - started) * 1000 / shared_by

    def finish(
        self, prediction: Prediction, error: str | None, *, version: str, worker: str, now: float
    ) -> FinishedItem:
        """Return the image with its result: the prediction of the tagger of this version, or an error."""
        job = self.job
        width, height = self.size or (None, None)
        result = Result(
            batch_id=job.batch_id,
            image_id=job.image_id,
            name=job.name,
            tagger=version,
            tags=prediction.tags,
            caption=prediction.caption,
            error=error,
            worker=worker,
            finished_at=now,
            timings_ms=Timings(**{stage: round(ms, 2) for stage, ms in self.timings.items()}),
            attempt=job.attempt,
            origin=job.origin,
            width=width,
            height=height,
        )
        return FinishedItem(self.delivery, result, store_only=job.store_only, pack=job.store_only and job.pack)


@dataclass(slots=True)
class DecodeAttempt:
    """One decode in this process. If it is slow, a second attempt starts; the first to `claim` decides the outcome."""

    item: WorkItem
    data: bytes
    """The image's bytes: the item drops its own once it has a frame."""
    started: float
    """Of `time.monotonic`."""
    overtaken: bool = False
    """Whether it took too long, and another thread works in its thread's place."""
    claimed: bool = False
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def claim(self) -> bool:
        """Return True to the first caller only."""
        with self._lock:
            first, self.claimed = not self.claimed, True
            return first
