"""Metrics on their way to CloudWatch: added up by the minute, in batches, and no trouble to whoever sends them."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError, EndpointConnectionError
from hypothesis import given
from hypothesis import strategies as st

from core.aws import metrics as cloudwatch
from core.aws.metrics import CloudWatchMetrics
from core.fleet.metrics import Metric, Sample
from tests.clock import Clock


@dataclass
class FakeCloudWatch:
    """Keeps what it takes; `error` is raised instead while it is set."""

    error: Exception | None = None
    calls: list[list[Mapping[str, Any]]] = field(default_factory=list)

    def put_metric_data(self, *, Namespace: str, MetricData: Sequence[Mapping[str, Any]]) -> None:  # noqa: N803
        assert Namespace == "Tagfleet"
        if self.error:
            raise self.error
        self.calls.append(list(MetricData))

    @property
    def taken(self) -> list[Mapping[str, Any]]:
        return [datum for call in self.calls for datum in call]


def refusal(code: str) -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": "no"}}, "PutMetricData")


AWAY = EndpointConnectionError(endpoint_url="https://monitoring.example.org")


@pytest.fixture
def client() -> FakeCloudWatch:
    return FakeCloudWatch()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(client, clock):
    metrics = CloudWatchMetrics(client, "shop", clock=clock, batch=10)
    yield metrics
    metrics.close()


@given(st.lists(st.tuples(st.floats(0, 600), st.sampled_from(["a", "b"]), st.integers(-1000, 1000)), max_size=60))
def test_a_minute_of_a_pool_is_one_set_that_says_what_all_its_samples_said(given_samples):
    client, clock = FakeCloudWatch(), Clock(0.0)
    metrics = CloudWatchMetrics(client, "shop", clock=clock)
    expected: dict[tuple[int, str], list[float]] = {}
    for at, pool, value in sorted(given_samples):
        clock.now = at
        metrics.put([Sample(Metric.BACKLOG_VISIBLE, pool, value)])
        expected.setdefault((int(at // 60), pool), []).append(value)
    metrics.close()
    found = {}
    for datum in client.taken:
        dimensions = {each["Name"]: each["Value"] for each in datum["Dimensions"]}
        assert dimensions["Deployment"] == "shop"
        found[int(datum["Timestamp"].timestamp() // 60), dimensions["Pool"]] = datum["StatisticValues"]
    assert len(found) == len(client.taken)
    assert found == {
        key: {"SampleCount": len(values), "Sum": sum(values), "Minimum": min(values), "Maximum": max(values)}
        for key, values in expected.items()
    }


def test_only_minutes_that_are_over_are_sent(metrics, client, clock):
    metrics.put([Sample(Metric.DEAD_LETTERS, "a", 1)])
    metrics.flush()
    assert not client.calls
    clock.now += 60
    metrics.flush()
    assert [datum["MetricName"] for datum in client.taken] == ["DeadLetters"]


def test_calls_are_no_larger_than_a_batch(metrics, client, clock):
    metrics.put([Sample(Metric.BACKLOG_VISIBLE, f"pool-{number}", 1) for number in range(25)])
    clock.now += 60
    metrics.flush()
    assert [len(call) for call in client.calls] == [10, 10, 5]


def test_a_full_batch_is_within_what_one_call_may_have():
    assert cloudwatch.BATCH <= 1000


def test_units_are_those_of_the_quantity(metrics, client, clock):
    metrics.put([Sample(metric, "a", 1) for metric in Metric])
    clock.now += 60
    metrics.flush()
    units = {datum["MetricName"]: datum["Unit"] for datum in client.taken}
    assert units.keys() == set(Metric)
    assert units["BootSeconds"] == "Seconds"
    assert units["ImagesPerSecond"] == "Count/Second"
    assert units["SpendPerHour"] == "None"
    assert units["BacklogVisible"] == "Count"


@pytest.mark.parametrize("error", [AWAY, refusal("Throttling"), refusal("AccessDenied"), refusal("ExpiredToken")])
def test_what_cannot_be_sent_waits_and_is_sent_once(metrics, client, clock, capsys, error):
    client.error = error
    for _ in range(3):
        metrics.put([Sample(Metric.DEAD_LETTERS, "a", 1)])
        clock.now += 60
        metrics.flush()
    client.error = None
    metrics.flush()
    metrics.flush()
    assert len({datum["Timestamp"] for datum in client.taken}) == len(client.taken) == 3
    said = "".join(capsys.readouterr())
    assert said.count("metrics do not reach CloudWatch") == 1
    assert said.count("metrics reach CloudWatch again") == 1


def test_what_is_refused_for_good_holds_nothing_up(metrics, client, clock):
    client.error = refusal("InvalidParameterValue")
    metrics.put([Sample(Metric.SPEND_PER_HOUR, "a", math.nan)])
    clock.now += 60
    metrics.flush()
    client.error = None
    metrics.put([Sample(Metric.SPEND_PER_HOUR, "a", 2)])
    clock.now += 60
    metrics.flush()
    assert [datum["StatisticValues"]["Sum"] for datum in client.taken] == [2]


def test_the_buffer_is_bounded_and_keeps_the_latest(metrics, client, clock):
    client.error = AWAY
    for _ in range(3):
        metrics.put([Sample(Metric.BACKLOG_VISIBLE, f"pool-{number}", 1) for number in range(5000)])
        clock.now += 60
        metrics.flush()
    client.error = None
    metrics.flush()
    assert len(client.taken) == cloudwatch.BUFFER
    assert max(datum["Timestamp"] for datum in client.taken) == datetime.fromtimestamp(clock.now - 60, UTC)


def test_the_thread_that_sends_ends_with_close(client, clock):
    metrics = CloudWatchMetrics(client, "shop", clock=clock)
    metrics.put([Sample(Metric.WORKERS_READY, "a", 1)])
    assert [thread for thread in threading.enumerate() if thread.name == "metrics"]
    metrics.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "metrics"]
    assert len(client.taken) == 1, "the minute that was not over"


def test_a_close_waits_for_no_cloudwatch_that_is_away(client, clock):
    metrics = CloudWatchMetrics(client, "shop", clock=clock)
    metrics.put([Sample(Metric.WORKERS_READY, "a", 1)])
    clock.now += 60
    client.error = AWAY
    metrics.flush()
    client.error = None
    metrics.close()
    assert not client.calls


def test_cloudwatch_has_what_was_put(cloud):
    client, deployment = cloud.client("cloudwatch"), cloud.name("shop")
    metrics = CloudWatchMetrics(client, deployment)
    metrics.put([Sample(Metric.BOOT_SECONDS, "resnet50", value) for value in (30, 50)])
    metrics.close()
    now = datetime.now(UTC)
    [point] = client.get_metric_statistics(
        Namespace="Tagfleet",
        MetricName="BootSeconds",
        Dimensions=[{"Name": "Deployment", "Value": deployment}, {"Name": "Pool", "Value": "resnet50"}],
        StartTime=now - timedelta(minutes=5),
        EndTime=now + timedelta(minutes=1),
        Period=60,
        Statistics=["SampleCount", "Average", "Maximum"],
    )["Datapoints"]
    assert (point["SampleCount"], point["Average"], point["Maximum"]) == (2, 40, 50)
