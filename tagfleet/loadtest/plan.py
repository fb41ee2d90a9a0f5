"""What a load test is to do, and when each photo of it leaves."""

from __future__ import annotations

import random
import re
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from tagfleet.loadtest.errors import LoadTestError

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|kB|MB)?", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "kb": 1_000, "mb": 1_000_000}


class Start(StrEnum):
    """`cold` waits until there is no worker, `warm` until some photos of its own are tagged."""

    AS_IT_IS = "as-it-is"
    COLD = "cold"
    WARM = "warm"


class Arrivals(StrEnum):
    POISSON = "poisson"
    EVEN = "even"


class Plan(BaseModel):
    """With a `rate` (photos/s) photos leave when their time has come, else as soon as one of `concurrency` senders is
    free; each request has up to `per_request` photos. `seconds` is the longest that the test may take.
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
        """Seconds after the beginning at which each photo should leave; None where none has a time of its own."""
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
    """Bytes of "1900", "80kB" or "2 MB", decimal units. Raises LoadTestError."""
    found = _SIZE.fullmatch(text.strip())
    if not found:
        raise LoadTestError(f"{text!r} is no size: write it as 1900, 80kB or 2MB")
    return round(float(found[1]) * _UNITS[(found[2] or "").lower()])
