"""A run over a bucket by the adapters of AWS and a real worker's pipeline: what it asks of S3 and SQS."""

from __future__ import annotations

import io
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from pyarrow import parquet

from app_tier.pipeline import receiving, result_batching
from app_tier.pipeline.pipeline import Pipeline, PipelineOptions, PipelinePorts
from config.settings import Settings
from core.aws.queue import FULL, SqsQueue
from core.aws.sources import S3Source
from core.aws.store import S3Store
from core.storage import packs
from core.storage.originals import Originals
from tagfleet.bulk.estimate import requests_dollars
from tagfleet.bulk.listing import PrefixListing
from tagfleet.bulk.run import BucketRun, RunSetup, drive
from tagfleet.bulk.state import RunFile, RunState
from tagfleet.request_prices import GET, LIST, PUT, SQS
from tests.cloud import Cloud
from tests.contract.aws import made_bucket, made_queue
from tests.contract.conftest import eventually
from tests.unit.app_tier.conftest import ColourTagger, picture

IMAGES = 1000
PRICES = {"s3.GetObject": GET, "s3.PutObject": PUT, "s3.ListObjectsV2": LIST}


@pytest.fixture
def bucket(cloud: Cloud) -> str:
    bucket = made_bucket(cloud, "photos")
    s3, data = cloud.client("s3"), picture()
    with ThreadPoolExecutor(8) as writers:
        for done in [
            writers.submit(s3.put_object, Bucket=bucket, Key=f"a b/ü+{number:04}.png", Body=data)
            for number in range(IMAGES)
        ]:
            done.result()
    return bucket


@pytest.fixture
def setup(cloud: Cloud) -> RunSetup:
    deployment = cloud.name("tagfleet")
    for name in ("jobs-resnet50", "results"):
        made_queue(cloud, f"{deployment}-{name}", 3)
    store = S3Store(cloud.clients, input_bucket=made_bucket(cloud, "input"), output_bucket=made_bucket(cloud, "output"))
    queue = SqsQueue(cloud.clients, deployment, "jobs-resnet50", visibility_timeout_s=600)
    return RunSetup(store, queue, time.time, lead=5000)


@pytest.fixture
def worker(cloud: Cloud, setup: RunSetup, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Pipeline]:
    """A worker that tags for free. However slow this machine is, packs wait for company, and receives for room."""
    monkeypatch.setattr(result_batching, "MAX_PACK_WAIT_S", 600.0)
    monkeypatch.setattr(result_batching, "PACK_IDLE_S", 600.0)
    monkeypatch.setattr(receiving, "RECEIVE_WAIT_S", 5.0)
    fast = settings.worker.model_copy(update={"prefetch": 256})  # as `auto` chooses from 26 images/s on
    source = S3Source(cloud.clients)
    ports = PipelinePorts(
        setup.queue, setup.queue.dead_letters(), setup.store, Originals(setup.store, lambda: source, 1 << 20)
    )
    pipeline = Pipeline(ColourTagger(), ports, PipelineOptions(fast, "w1", visibility_timeout_s=600))
    yield pipeline
    pipeline.draining.set()
    assert pipeline.wait_until_drained(120)
    pipeline.close()


@pytest.fixture
def asked(cloud: Cloud) -> Iterator[Callable[[], Counter[str]]]:
    """The requests since the test began. Of a receive, only the part that was filled.

    How full an answer is, is the server's choice: each receive has to ask for as many messages as there may be.
    """
    missing: Counter[str] = Counter()
    wanted: list[int] = []

    def ask(params: Any, **_: object) -> None:
        wanted.append(params["MaxNumberOfMessages"])

    def look(parsed: Any, **_: object) -> None:
        missing["sqs.ReceiveMessage"] += 1 - len(parsed.get("Messages", ())) / FULL  # type: ignore[assignment]

    events = cloud.clients.sqs.meta.events
    events.register("before-parameter-build.sqs.ReceiveMessage", ask)
    events.register("after-call.sqs.ReceiveMessage", look)
    before = Counter(cloud.clients.requests())

    def count() -> Counter[str]:
        assert set(wanted) == {FULL}
        return Counter(cloud.clients.requests()) - before - missing

    yield count
    events.unregister("before-parameter-build.sqs.ReceiveMessage", ask)
    events.unregister("after-call.sqs.ReceiveMessage", look)


def test_a_thousand_images_cost_a_thousand_reads_and_little_more(
    cloud: Cloud, bucket: str, setup: RunSetup, worker: Pipeline, asked: Callable[[], Counter[str]]
) -> None:
    listing = PrefixListing(S3Source(cloud.clients), f"s3://{bucket}/a b/")
    file = RunFile(setup.store, "run_x", RunState(listing=listing.name, pool="resnet50"), time.time)
    run = BucketRun(file, listing, setup)
    while run.step():
        pass
    assert file.state.sent == IMAGES
    worker.start()  # now: a receive takes what is there, and does not wait for ten
    drive(run, lambda run: None, pytest.fail, lambda seconds: eventually(lambda: worker.images_done == IMAGES))
    assert worker.in_flight.wait_until_empty(120)
    requests = asked()
    of = {service: sum(n for name, n in requests.items() if name.startswith(service)) for service in ("s3.", "sqs.")}
    assert requests["s3.PutObject"] <= 0.012 * IMAGES, requests
    assert of["s3."] <= 1.02 * IMAGES, requests
    assert of["sqs."] <= 0.31 * IMAGES, requests
    million = 1_000_000 / IMAGES * sum(n * PRICES.get(name, SQS) for name, n in requests.items())
    assert million <= 0.60
    assert million == pytest.approx(requests_dollars(1_000_000, aws=True), abs=0.03)

    (part,) = (info.key for info in setup.store.list("exports/run_x/"))
    rows = parquet.read_table(io.BytesIO(setup.store.get(part).data)).to_pylist()
    assert [row["uri"] for row in rows] == [f"s3://{bucket}/a b/ü+{number:04}.png" for number in range(IMAGES)]
    assert not any(row["error"] for row in rows)
    assert all(found.is_pack for found in packs.list_results(setup.store, "run_x", 1))
