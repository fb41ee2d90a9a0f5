"""A run over a bucket by the adapters of AWS: what it asks of S3 and SQS for each image."""

from __future__ import annotations

import io
from collections import Counter

import pytest
from pyarrow import parquet

from core.aws.queue import SqsQueue
from core.aws.sources import S3Source
from core.aws.store import S3Store
from core.domain.messages import Result, decode_job, encode
from core.storage import layout
from core.storage.originals import Originals
from tagfleet.bulk.listing import PrefixListing
from tagfleet.bulk.run import BucketRun, RunSetup, drive
from tagfleet.bulk.state import RunFile, RunState
from tests.contract.aws import made_bucket, made_queue

IMAGES = 60


@pytest.fixture
def setup(cloud):
    deployment = cloud.name("tagfleet")
    made_queue(cloud, f"{deployment}-jobs-resnet50", 3)
    store = S3Store(cloud.clients, input_bucket=made_bucket(cloud, "input"), output_bucket=made_bucket(cloud, "output"))
    return RunSetup(
        store,
        SqsQueue(cloud.clients, deployment, "jobs-resnet50", visibility_timeout_s=30),
        lambda: 1.0,
        lead=1000,
        portion=IMAGES // 2,
    )


def test_a_run_asks_little_for_each_image(cloud, setup):
    bucket = made_bucket(cloud, "photos")
    for number in range(IMAGES):
        cloud.client("s3").put_object(Bucket=bucket, Key=f"a b/ü+{number}.jpg", Body=b"x")
    source = S3Source(cloud.clients)
    originals = Originals(setup.store, lambda: source, 100)
    before = Counter(cloud.clients.requests())

    def work(*_):
        deliveries = setup.queue.receive(10, 0)
        for delivery in deliveries:
            job = decode_job(delivery.body)
            assert originals.read(job.key).data == b"x"
            result = Result(batch_id=job.batch_id, image_id=job.image_id, name=job.name, tagger="t@1")
            setup.store.put(layout.result_key(job.batch_id, job.image_id), encode(result).encode())
        setup.queue.delete(deliveries)

    listing = PrefixListing(source, f"s3://{bucket}/a b/")
    file = RunFile(setup.store, "run_x", RunState(listing=listing.name, pool="resnet50"), lambda: 1.0)
    drive(BucketRun(file, listing, setup), work, pytest.fail, work)

    asked = Counter(cloud.clients.requests()) - before
    assert asked["s3.GetObject"] <= 2 * IMAGES + 10, "the image, and its result when its portion is whole"
    assert asked["s3.PutObject"] <= IMAGES + 20, "its result; the rest is for each portion"
    assert asked["sqs.SendMessageBatch"] == IMAGES / 10
    keys = [info.key for info in setup.store.list("exports/run_x/")]
    rows = [row for key in keys for row in parquet.read_table(io.BytesIO(setup.store.get(key).data)).to_pylist()]
    assert {row["uri"] for row in rows} == {f"s3://{bucket}/a b/ü+{number}.jpg" for number in range(IMAGES)}
    assert len(keys) == 2
