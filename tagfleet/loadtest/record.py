"""What is written down of a run. Times are seconds from its beginning, unless their name says otherwise."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from config.validation import first_problem
from core.util.atomic import atomic_write
from tagfleet.loadtest.errors import LoadTestError
from tagfleet.loadtest.plan import Plan

_FORMAT = 1


class Photo(BaseModel):
    """One photo: when it should have left, its first byte was sent, the service had it, its tags were here."""

    bytes: int
    planned: float | None = None
    sent: float | None = None
    accepted: float | None = None
    tagged: float | None = None
    error: str | None = None
    """What went wrong, in words that are the same for all of a kind."""

    @property
    def response_s(self) -> float | None:
        """From its first byte sent to its tags received."""
        return _between(self.sent, self.tagged)

    @property
    def upload_s(self) -> float | None:
        return _between(self.sent, self.accepted)

    @property
    def late_s(self) -> float | None:
        """How long after its time it left."""
        return _between(self.planned, self.sent)


def _between(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else end - start


class Sample(BaseModel):
    """The fleet at a moment: images that wait and that workers hold, live workers by state; all pools together."""

    at: float
    waiting: int
    in_flight: int
    workers: dict[str, int] = {}


class Boot(BaseModel):
    """A worker that came up during the run. `phases`: seconds from its launch to the end of each."""

    worker_id: str
    phases: dict[str, float]


class Run(BaseModel):
    """`cpu_seconds` is the processor time of the sending process while it sent."""

    plan: Plan
    began_at_unix: float
    url: str
    taggers: dict[str, str] = {}
    photos: list[Photo] = []
    samples: list[Sample] = []
    boots: list[Boot] = []
    cpu_seconds: float = 0.0
    interrupted: bool = False
    notices: list[str] = []
    """What the reader should know: photos were not sent, tags not awaited, the fleet could not be watched."""


class Report(BaseModel):
    """One file of runs, and the machine that sent them."""

    format: int = Field(default=_FORMAT, le=_FORMAT)
    machine: str = ""
    suite: str = ""
    runs: list[Run]


def write(report: Report, path: Path) -> None:
    """Raises OSError."""
    atomic_write(path, report.model_dump_json(indent=1))


def read(path: Path) -> Report:
    """Raises LoadTestError."""
    try:
        return Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise LoadTestError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValidationError as error:
        raise LoadTestError(
            f"{path}: this is not a report of `tagfleet loadtest`, or a newer version wrote it ({first_problem(error)})"
        ) from None
