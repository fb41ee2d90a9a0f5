"""Sends metrics to CloudWatch: aggregated by the minute, in batches, by a thread of its own.

Each metric of a pool is one statistic set a minute, however many samples it had. One PutMetricData a minute is 43,200 a
month, at $0.01 per 1,000. Sets that cannot be sent wait in a bounded buffer and block nobody.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from core.fleet.metrics import Metric, Sample
from core.telemetry import logger

if TYPE_CHECKING:
    from mypy_boto3_cloudwatch import CloudWatchClient
    from mypy_boto3_cloudwatch.literals import StandardUnitType
    from mypy_boto3_cloudwatch.type_defs import MetricDatumTypeDef

NAMESPACE = "Tagfleet"
PERIOD_S = 60.0
"""CloudWatch keeps ordinary metrics by the minute."""
BATCH = 500
"""Sets per call, about 700 bytes each. PutMetricData takes 1,000, and 1 MB."""
BUFFER = 10_000
"""Sets that may wait while CloudWatch does not answer: an hour of 14 pools. Beyond that the oldest are dropped."""
_UNITS: dict[Metric, StandardUnitType] = {
    Metric.BOOT_SECONDS: "Seconds",
    Metric.IMAGES_PER_SECOND: "Count/Second",
    Metric.SPEND_PER_HOUR: "None",
}


@dataclass(slots=True)
class _Set:
    """A statistic set, as CloudWatch calls the samples of one metric of one pool in one minute."""

    count: int
    total: float
    least: float
    most: float

    def add(self, value: float) -> None:
        self.count += 1
        self.total += value
        self.least = min(self.least, value)
        self.most = max(self.most, value)


class CloudWatchMetrics:
    """Collects samples and sends them from its own thread, which starts with the first sample.

    Safe for several threads. `clock` gives Unix seconds.
    """

    def __init__(
        self, client: CloudWatchClient, deployment: str, *, clock: Callable[[], float] = time.time, batch: int = BATCH
    ) -> None:
        self._client = client
        self._deployment = deployment
        self._clock = clock
        self._batch = batch
        self._lock = threading.Lock()
        self._open: dict[tuple[int, Metric, str], _Set] = {}
        self._waiting: deque[MetricDatumTypeDef] = deque(maxlen=BUFFER)
        self._failing = False
        self._sending = False
        self._closed = threading.Event()
        self._sender = threading.Thread(target=self._run, name="metrics", daemon=True)

    def put(self, samples: Sequence[Sample]) -> None:
        minute = int(self._clock() // PERIOD_S)
        with self._lock:
            for sample in samples:
                key = minute, sample.metric, sample.pool
                if key in self._open:
                    self._open[key].add(sample.value)
                else:
                    self._open[key] = _Set(1, sample.value, sample.value, sample.value)
            if samples and not self._sending:
                self._sending = True
                self._sender.start()

    def close(self) -> None:
        """End the thread and send the rest, the unfinished minute too. Skip that if the last send failed."""
        self._closed.set()
        if self._sending:
            self._sender.join()
        if not self._failing:
            self.flush(everything=True)

    def flush(self, *, everything: bool = False) -> None:
        """Send finished minutes, or `everything`. Keep for the next time what CloudWatch does not accept now."""
        self._waiting.extend(self._take(everything=everything))
        while self._waiting:
            data = list(islice(self._waiting, self._batch))
            try:
                self._client.put_metric_data(Namespace=NAMESPACE, MetricData=data)
            except (BotoCoreError, ClientError) as error:
                self._warn(error)
                if not _refused(error):
                    return
            else:
                self._note_recovery()
            for _ in data:
                self._waiting.popleft()

    def _run(self) -> None:
        while not self._closed.wait(PERIOD_S):
            self.flush()

    def _take(self, *, everything: bool) -> list[MetricDatumTypeDef]:
        now = int(self._clock() // PERIOD_S)
        with self._lock:
            over = {key: found for key, found in self._open.items() if everything or key[0] < now}
            for key in over:
                del self._open[key]
        return [self._datum(*key, found) for key, found in over.items()]

    def _datum(self, minute: int, metric: Metric, pool: str, found: _Set) -> MetricDatumTypeDef:
        return {
            "MetricName": metric,
            "Dimensions": [{"Name": "Deployment", "Value": self._deployment}, {"Name": "Pool", "Value": pool}],
            "Timestamp": datetime.fromtimestamp(minute * PERIOD_S, UTC),
            "Unit": _UNITS.get(metric, "Count"),
            "StatisticValues": {
                "SampleCount": found.count,
                "Sum": found.total,
                "Minimum": found.least,
                "Maximum": found.most,
            },
        }

    def _warn(self, error: Exception) -> None:
        if not self._failing:
            logger().warning("metrics do not reach CloudWatch; the fleet works without them", why=str(error))
        self._failing = True

    def _note_recovery(self) -> None:
        if self._failing:
            logger().info("metrics reach CloudWatch again")
        self._failing = False


def _refused(error: Exception) -> bool:
    """Return whether CloudWatch will never accept these sets, so that they are dropped and do not delay later ones."""
    return isinstance(error, ClientError) and error.response["Error"].get("Code", "").startswith(
        ("InvalidParameter", "MissingParameter", "ValidationError", "MalformedQueryString")
    )
