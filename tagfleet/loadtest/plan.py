"""The plan of a load test: how many photos of which size, how fast, and when each one leaves."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from core.errors import TagfleetError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|kB|MB)?", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "kb": 1_000, "mb": 1_000_000}


class LoadTestError(TagfleetError):
    """The load test cannot run as requested, or a report cannot be read."""


class Start(StrEnum):
    """State of the fleet before the test: `cold` waits until no worker runs, `warm` tags some photos first."""

    AS_IT_IS = "as-it-is"
    COLD = "cold"
    WARM = "warm"


class Arrivals(StrEnum):
    """The spacing of departures in a run with a rate."""

    POISSON = "poisson"
    EVEN = "even"


class LoadPlan(BaseModel):
    """The parameters of one run, which takes at most `seconds`.

    With `rate` (photos/s) each photo leaves at its time, however slow the answers are. Without `rate` a photo leaves as
    soon as one of `concurrency` senders is free, with up to `per_request` photos in a request.
    """

    model_config = ConfigDict(frozen=True)
    label: str = "load"
    count: int = Field(ge=1)
    sizes: tuple[int, ...] = (80_000,)
    folder: Path | None = None
    concurrency: int = Field(default=4, ge=1)
    per_request: int = Field(default=1, ge=1)
    rate: float | None = Field(default=None, gt=0)
    arrivals: Arrivals = Arrivals.POISSON
    batches: int = Field(default=1, ge=1)
    start: Start = Start.AS_IT_IS
    seconds: float = Field(default=600.0, gt=0)
    tagger: str | None = None
    seed: int = 0

    def offsets(self) -> Sequence[float] | None:
        """Return when each photo leaves, in seconds from the start; None if photos have no fixed times."""
        if self.rate is None:
            return None
        if self.arrivals is Arrivals.EVEN:
            return [number / self.rate for number in range(self.count)]
        gaps = random.Random(self.seed)  # noqa: S311  # arrivals, no secret
        at, offsets = 0.0, []
        for _ in range(self.count):
            offsets.append(at)
            at += gaps.expovariate(self.rate)
        return offsets


def parse_size(text: str) -> int:
    """Return the bytes in "1900", "80kB" or "2 MB" (decimal units). Raises LoadTestError."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise LoadTestError(f"{text!r} is not a size: write it as 1900, 80kB or 2MB")
    return round(float(found[1]) * _UNITS[(found[2] or "").lower()])
