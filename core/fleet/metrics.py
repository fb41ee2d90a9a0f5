"""The fleet's metrics: their names, and the port that takes samples."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


class Metric(StrEnum):
    """The metrics, each measured per pool. People's alarms and dashboards use the names: never change one."""

    BACKLOG_VISIBLE = "BacklogVisible"
    """Waiting jobs."""
    BACKLOG_IN_FLIGHT = "BacklogInFlight"
    """Jobs that a worker holds, or held when it was lost."""
    BACKLOG_PER_WORKER = "BacklogPerWorker"
    """Waiting jobs per ready worker; if no worker is ready, as if one were."""
    DEAD_LETTERS = "DeadLetters"
    WORKERS_READY = "WorkersReady"
    WORKERS_BILLABLE = "WorkersBillable"
    """Instances that are paid for, including requested and ending ones."""
    WORKERS_WANTED = "WorkersWanted"
    BOOT_SECONDS = "BootSeconds"
    """Seconds from launch to ready, for each worker that became ready."""
    BOOT_FAILURES = "BootFailures"
    """Refused launches, and workers that did not become ready."""
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
    """Takes samples. It never delays the sender and never raises."""

    def put(self, samples: Sequence[Sample]) -> None: ...

    def close(self) -> None:
        """Send what is left, if possible."""


class NoMetrics:
    """For one machine: Prometheus reads the web tier's /metrics, so nothing is sent."""

    def put(self, samples: Sequence[Sample]) -> None:
        """Drop the samples."""

    def close(self) -> None:
        """Do nothing."""
