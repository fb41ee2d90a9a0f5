"""The record of a run, written as JSON. Times are seconds from the start unless a name says otherwise."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, Field, ValidationError

from config.validation import first_problem
from core.util.atomic import atomic_write
from tagfleet.loadtest.plan import LoadPlan, LoadTestError

_FORMAT = 1


class Photo(BaseModel):
    """One photo: when it was due to leave, its first byte was sent, the service accepted it, and its tags arrived."""

    bytes: int
    planned: float | None = None
    sent: float | None = None
    accepted: float | None = None
    tagged: float | None = None
    error: str | None = None
    """The error, in the same words for all errors of a kind."""

    @property
    def response_s(self) -> float | None:
        """From the first byte sent to the tags received."""
        return _between(self.sent, self.tagged)

    @property
    def upload_s(self) -> float | None:
        """From the first byte sent to the service's answer."""
        return _between(self.sent, self.accepted)

    @property
    def late_s(self) -> float | None:
        """How long after its time the photo left."""
        return _between(self.planned, self.sent)


def _between(start: float | None, end: float | None) -> float | None:
    return None if start is None or end is None else end - start


class Sample(BaseModel):
    """The fleet at one moment, all pools together: waiting images, images held by workers, live workers by state."""

    at: float
    waiting: int
    in_flight: int
    workers: dict[str, int] = {}


class Boot(BaseModel):
    """A worker that started during the run. `phases`: seconds from launch to the end of each phase."""

    worker_id: str
    phases: dict[str, float]


class LoadRun(BaseModel):
    """One run. `cpu_seconds` is the sending process's processor time while it sent."""

    plan: LoadPlan
    began_at_unix: float
    url: str
    taggers: dict[str, str] = {}
    photos: list[Photo] = []
    samples: list[Sample] = []
    boots: list[Boot] = []
    cpu_seconds: float = 0.0
    interrupted: bool = False
    notices: list[str] = []
    """Remarks for the reader: for example, that photos were not sent, or that the fleet could not be watched."""


class Report(BaseModel):
    """The runs of one command, and the machine that sent them."""

    format: int = Field(default=_FORMAT, le=_FORMAT)
    machine: str = ""
    suite: str = ""
    runs: list[LoadRun]


def write(report: Report, path: Path) -> None:
    """Write the report as JSON, atomically. Raises OSError."""
    atomic_write(path, report.model_dump_json(indent=1))


def read(path: Path) -> Report:
    """Read a report. Raises LoadTestError."""
    try:
        return Report.model_validate_json(path.read_bytes())
    except OSError as error:
        raise LoadTestError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValidationError as error:
        raise LoadTestError(
            f"{path}: this is not a report of `tagfleet loadtest`, or a newer version wrote it ({first_problem(error)})"
        ) from None
