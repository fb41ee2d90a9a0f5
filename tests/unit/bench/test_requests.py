"""Requests that images cost, by path, and their price."""

from __future__ import annotations

import pytest

from bench.paths import PATHS, Counted, Paths
from bench.small_cloud.process import running
from config import settings as config
from tagfleet import request_prices

_IMAGES = 40


def test_requests_are_grouped_by_price_and_priced_for_a_million() -> None:
    counted = Counted(
        2000,
        {
            "s3.GetObject": 2000,
            "s3.HeadObject": 2,
            "s3.PutObject": 20,
            "s3.ListObjectsV2": 4,
            "s3.DeleteObjects": 2,
            "sqs.ReceiveMessage": 200,
        },
    )
    assert counted.per_thousand() == {"GET": 1001.0, "PUT": 10.0, "LIST": 2.0, "SQS": 100.0}
    assert counted.dollars_per_million() == pytest.approx(0.4004 + 0.05 + 0.01 + 0.04)


def test_an_operation_without_a_price_is_an_error() -> None:
    with pytest.raises(KeyError):
        request_prices.price_of("s3.SelectObjectContent")


@pytest.mark.parametrize("path", PATHS)
def test_each_path_reads_every_image_and_accounts_for_it(monkeypatch: pytest.MonkeyPatch, tmp_path, path: str) -> None:
    with running() as cloud:
        for name, value in cloud.environ.items():
            monkeypatch.setenv(name, value)
        settings = config.load({"TAGFLEET_HOME": str(tmp_path), **cloud.settings})
        counted = PATHS[path](Paths(cloud, settings, workers=1), _IMAGES)
    assert counted.operations["s3.GetObject"] >= _IMAGES
    assert counted.operations["sqs.DeleteMessageBatch"] >= _IMAGES / 10
    assert counted.dollars_per_million() > 0.4


def test_a_bucket_is_tagged_completely_though_answers_fail(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    with running() as cloud:
        for name, value in cloud.environ.items():
            monkeypatch.setenv(name, value)
        flags = {"home": str(tmp_path), "queue.visibility_timeout_s": 2.0}
        settings = config.load(cloud.settings, flags=flags)
        cloud.control(faults={"share": 0.05, "kinds": ["slow_down", "cut", "lost"]})
        counted = PATHS["bucket"](Paths(cloud, settings, workers=1), _IMAGES)
    assert sum(count for name, count in counted.operations.items() if name.startswith("fault.")) > 0
