"""One image on its way through the stages, and what it ends in."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from app_tier.persistence import Finished
from app_tier.taggers import Frame, Prediction, Tagger
from core.messages import Job, Result, Timings
from core.ports import Delivery


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
    timings: dict[str, float] = field(default_factory=dict)
    """Milliseconds by stage."""

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
