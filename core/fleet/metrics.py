"""What the fleet says of itself in numbers, for whoever draws them and raises alarms."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Metric(StrEnum):
    """Each is of one pool. Alarms and dashboards of others name them: a name stays as it is."""

    BACKLOG_VISIBLE = "BacklogVisible"
    """Jobs that wait."""
    BACKLOG_IN_FLIGHT = "BacklogInFlight"
    """Jobs that a worker holds, or held when it was lost."""
    BACKLOG_PER_WORKER = "BacklogPerWorker"
    """Jobs that wait, by ready workers; where none is ready, as if one were."""
    DEAD_LETTERS = "DeadLetters"
    WORKERS_READY = "WorkersReady"
    WORKERS_BILLABLE = "WorkersBillable"
    """Instances that are paid for, launches asked for and instances that leave among them."""
    WORKERS_WANTED = "WorkersWanted"
    BOOT_SECONDS = "BootSeconds"
    """From launch to ready, of each worker that became ready."""
    BOOT_FAILURES = "BootFailures"
    """Launches refused, and workers that did not become ready."""
    IMAGES_PER_SECOND = "ImagesPerSecond"
    """Images finished, with tags or with an error."""
    IMAGE_ERRORS = "ImageErrors"
    """Images that can never be tagged."""
    SPEND_PER_HOUR = "SpendPerHour"
    """US dollars for the instances that are paid for."""


@dataclass(frozen=True, slots=True)
class Sample:
    metric: Metric
    pool: str
    value: float


class Metrics(Protocol):
    """Takes samples. Whatever becomes of them, the sender is not kept waiting and meets no error."""

    def put(self, samples: Sequence[Sample]) -> None: ...

    def close(self) -> None:
        """Send what is left, as far as that goes."""


class NoMetrics:
    """For one machine: Prometheus reads the web tier's /metrics, nothing need be sent."""

    def put(self, samples: Sequence[Sample]) -> None:
        """Pass them over."""

    def close(self) -> None:
        """There is nothing left."""
