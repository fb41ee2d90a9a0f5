"""Compute the figures of a run from its record."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

from pydantic import BaseModel

from tagfleet.loadtest.record import LoadRun

_LATE_S = 0.1
_NEAR_ITS_LIMIT = 0.8


class Spread(BaseModel):
    """Statistics of durations in seconds. Percentiles are nearest-rank, so they are values that occurred."""

    mean: float
    p50: float
    p95: float
    p99: float
    max: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread | None:
        """Return the statistics of `values`, or None if there are none."""
        if not values:
            return None
        ordered = sorted(values)
        p50, p95, p99 = (ordered[math.ceil(share * len(ordered)) - 1] for share in (0.50, 0.95, 0.99))
        return cls(mean=math.fsum(ordered) / len(ordered), p50=p50, p95=p95, p99=p99, max=ordered[-1])


class RunFigures(BaseModel):
    """The figures of one run. Rates are per second; None means that there was nothing to measure.

    `response` is the time from sending a photo's first byte to receiving its tags; `seconds`, from the first photo's
    first byte to the last tags.
    """

    photos: int
    accepted: int
    tagged: int
    errors: dict[str, int]
    seconds: float | None
    response: Spread | None
    upload: Spread | None
    uploads_per_s: float | None
    mb_per_s: float | None
    images_per_s: float | None
    boots: int
    boot_phases: dict[str, Spread]
    most_workers: int
    most_waiting: int
    sender_limit_per_s: float | None
    """The most uploads/s that the sending process could reach: uploads per second of its processor time, as it uses
    one core.
    """
    remarks: list[str]

    @property
    def sound(self) -> bool:
        """Whether every photo got its tags."""
        return self.tagged == self.photos


def compute(run: LoadRun) -> RunFigures:
    """Return the figures of a run."""
    tagged = [photo for photo in run.photos if photo.tagged is not None and photo.error is None]
    accepted = [photo for photo in run.photos if photo.accepted is not None]
    begun = min(_known(photo.sent for photo in run.photos), default=0.0)
    uploaded = max(_known(photo.accepted for photo in accepted), default=begun) - begun
    seconds = max(_known(photo.tagged for photo in tagged), default=begun) - begun
    phases = {phase: [boot.phases[phase] for boot in run.boots if phase in boot.phases] for phase in _phases(run)}
    uploads_per_s = len(accepted) / uploaded if uploaded else None
    limit = len(accepted) / run.cpu_seconds if run.cpu_seconds and accepted else None
    return RunFigures(
        photos=run.plan.count,
        accepted=len(accepted),
        tagged=len(tagged),
        errors=dict(Counter(photo.error for photo in run.photos if photo.error)),
        seconds=seconds if tagged else None,
        response=Spread.of(_known(photo.response_s for photo in tagged)),
        upload=Spread.of(_known(photo.upload_s for photo in accepted)),
        uploads_per_s=uploads_per_s,
        mb_per_s=sum(photo.bytes for photo in accepted) / uploaded / 1e6 if uploaded else None,
        images_per_s=len(tagged) / seconds if seconds else None,
        boots=len(run.boots),
        boot_phases={phase: spread for phase, values in phases.items() if (spread := Spread.of(values))},
        most_workers=max((sum(sample.workers.values()) for sample in run.samples), default=0),
        most_waiting=max((sample.waiting for sample in run.samples), default=0),
        sender_limit_per_s=limit,
        remarks=[*run.notices, *_about_the_sender(run, uploads_per_s, limit)],
    )


def _known(times: Iterable[float | None]) -> list[float]:
    return [time for time in times if time is not None]


def _phases(run: LoadRun) -> list[str]:
    return list(dict.fromkeys(phase for boot in run.boots for phase in boot.phases))


def _about_the_sender(run: LoadRun, uploads_per_s: float | None, limit: float | None) -> list[str]:
    """Return a remark if the run measured the sender rather than the service."""
    if uploads_per_s and limit and uploads_per_s > _NEAR_ITS_LIMIT * limit:
        return [
            f"the sender was the bottleneck: {uploads_per_s:.0f} uploads/s are near the {limit:.0f}/s that its one "
            "process can reach; send from several machines, or more photos in a request"
        ]
    late = Spread.of(_known(photo.late_s for photo in run.photos))
    if late and late.p95 > _LATE_S:
        return [
            f"{run.plan.concurrency} requests at once were too few for this rate: one photo in twenty left "
            f"{late.p95:.1f} s late or more; raise --concurrency, or lower --rate"
        ]
    return []
