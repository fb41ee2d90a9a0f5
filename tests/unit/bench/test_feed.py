"""The measurement of a worker on S3 and SQS, with a few images."""

from __future__ import annotations

import pytest

from bench.feed import Round, Worker, last_line
from bench.free import SimulatedDevice
from bench.small_cloud.process import running
from config import settings as config


def test_the_last_line_has_medians_and_the_median_of_the_ratios() -> None:
    near = [Round(rate, 0.9, 0.0) for rate in (1000, 900, 800)]
    far = [Round(rate, cpu_ms, 0.0) for rate, cpu_ms in ((950, 0.93), (912, 0.91), (700, 1.4))]
    line = last_line({"0 ms": near, "30 ms": far})
    assert line == "feed 912 images/s at 30 ms, 0.95 of 0 ms, 0.93 ms an image"


@pytest.mark.parametrize("bulk", [False, True])
def test_a_round_tags_every_image_at_both_kinds_of_jobs(monkeypatch: pytest.MonkeyPatch, tmp_path, bulk: bool) -> None:
    with running() as cloud:
        for name, value in cloud.environ.items():
            monkeypatch.setenv(name, value)
        worker = Worker(cloud, config.load({"TAGFLEET_HOME": str(tmp_path), **cloud.settings}), warm_up=5)
        worker.store_images(10)
        cloud.reset()
        found = worker.run(20, tagger=SimulatedDevice(1000.0, 8), bulk=bulk)
        counts = cloud.requests()
    assert found.rate > 0
    assert 0 < found.busy < 1.001
    assert counts["s3.GetObject"] >= 25  # an original each; a cancelled batch is looked for too
    assert (counts["sqs.SendMessageBatch"] > 0) != bulk  # results of a bucket run are not sent
