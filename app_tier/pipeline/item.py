"""One image on its way through the stages, and what it ends in."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from typing import Literal

from app_tier.pipeline.result_writer import Finished
from app_tier.taggers import Frame, Prediction, Tagger
from core.domain.messages import Job, Result, Timings
from core.storage.ports import Delivery


@dataclass(slots=True)
class Turn:
    """One decode in this process. Of two tries at one image the first to claim it here decides what becomes of it."""

    work: Work
    data: bytes
    """The work's own is let go once it has its frame."""
    started: float
    """Of `time.monotonic`."""
    overtaken: bool = False
    """It took too long: another thread goes on in its place."""
    claimed: bool = False
    _claiming: threading.Lock = field(default_factory=threading.Lock)

    def claim(self) -> bool:
        """True for the first caller only."""
        with self._claiming:
            first, self.claimed = not self.claimed, True
            return first


@dataclass(slots=True)
class Work:
    delivery: Delivery
    job: Job
    data: bytes = b""
    frame: Frame | None = None
    tagger: Tagger | None = None
    """The one that made the frame: it may have a successor by now."""
    size: tuple[int, int] | None = None
    """Width and height (pixels) of the upright picture at full scale, where its header was read."""
    suspected: Literal["", "decoding", "tagging"] = ""
    """As in its job, or as this worker knows better."""
    rival: Turn | None = None
    """The decode in this process that takes too long, where this is the second try in another."""
    timings: dict[str, float] = field(default_factory=dict)
    """Milliseconds by stage."""

    @property
    def alone(self) -> bool:
        """Whether the tagger is to see it in a batch of its own."""
        return self.suspected == "tagging"

    def claim(self) -> bool:
        """Whether this try decides what becomes of the image."""
        return self.rival is None or self.rival.claim()

    def again(self, turn: Turn) -> Work:
        """The same image for a second decode, while `turn` still has the first one in hand."""
        return Work(
            self.delivery, self.job, data=turn.data, suspected=self.suspected, rival=turn, timings=dict(self.timings)
        )

    def took(self, stage: str, started: float, shared_by: int = 1) -> None:
        """Note a stage that began at `started` (of `time.perf_counter`), for so many images at once."""
        self.timings[stage] = (time.perf_counter() - started) * 1000 / shared_by

    def finished(self, found: Prediction, error: str | None, *, version: str, worker: str, now: float) -> Finished:
        """Its result: what the tagger of that version found, or why nothing could be."""
        job = self.job
        width, height = self.size or (None, None)
        result = Result(
            batch_id=job.batch_id,
            image_id=job.image_id,
            name=job.name,
            tagger=version,
            tags=found.tags,
            caption=found.caption,
            error=error,
            worker=worker,
            finished_at=now,
            timings_ms=Timings(**{stage: round(ms, 2) for stage, ms in self.timings.items()}),
            attempt=job.attempt,
            origin=job.origin,
            width=width,
            height=height,
        )
        return Finished(self.delivery, result, store_only=job.store_only)
