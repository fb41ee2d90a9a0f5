"""What a thousand images cost in requests, by the real pipeline and the real adapters."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from app_tier.pipeline.pipeline import Pipeline, PipelineOptions, PipelinePorts
from core.aws.queue import SqsQueue
from core.aws.store import S3Store
from core.domain.ids import new_id
from core.domain.messages import Job, decode_output, encode
from core.storage import layout
from core.storage.originals import Originals
from tests.contract.aws import made_bucket, made_queue
from tests.contract.conftest import eventually
from tests.unit.app_tier.conftest import ColourTagger, picture

IMAGES = 120


@pytest.fixture
def parts(cloud):
    deployment = cloud.name("tagfleet")
    for name in ("jobs-resnet50", "results"):
        made_queue(cloud, f"{deployment}-{name}", 3)
    store = S3Store(cloud.clients, input_bucket=made_bucket(cloud, "input"), output_bucket=made_bucket(cloud, "output"))
    jobs, results = (
        SqsQueue(cloud.clients, deployment, name, visibility_timeout_s=600) for name in ("jobs-resnet50", "results")
    )
    return store, jobs, results


@pytest.fixture
def asked(cloud):
    """The requests since the test began, without receives that found nothing: those are of time, not of images."""
    before = Counter(cloud.clients.requests())
    empty = Counter()

    def look(parsed, **_):
        empty["sqs.ReceiveMessage"] += not parsed.get("Messages")

    events = cloud.clients.sqs.meta.events
    events.register("after-call.sqs.ReceiveMessage", look)
    yield lambda: Counter(cloud.clients.requests()) - before - empty
    events.unregister("after-call.sqs.ReceiveMessage", look)


def test_requests_per_image(parts, asked, settings):
    """Results are read when all are there: a receive that waits would take the first to come, and no more."""
    store, jobs, results = parts
    data = picture()
    bodies = []
    for _ in range(IMAGES):
        image_id = new_id("img")
        key = layout.image_key("bat_1", image_id)
        store.put(key, data, content_type="image/png")
        job = Job(batch_id="bat_1", image_id=image_id, key=key, name="a.png", tagger="colour", submitted_at=time.time())
        bodies.append(encode(job))
    jobs.send(bodies)
    originals = Originals(store, lambda: pytest.fail("no image lies elsewhere"), 1 << 20)
    ports = PipelinePorts(jobs, results, store, originals)
    pipeline = Pipeline(ColourTagger(), ports, PipelineOptions(settings.worker, "w1", visibility_timeout_s=600))
    pipeline.start()
    eventually(lambda: pipeline.images_done == IMAGES)
    tagged = set()
    while len(tagged) < IMAGES:
        deliveries = results.receive(100, 5)
        tagged |= {decode_output(delivery.body).result.image_id for delivery in deliveries}
        results.delete(deliveries)
    pipeline.draining.set()
    assert pipeline.wait_until_drained(120)
    pipeline.close()
    requests = asked()
    of = {service: sum(n for name, n in requests.items() if name.startswith(service)) for service in ("s3.", "sqs.")}
    assert of["s3."] <= 3.3 * IMAGES, requests
    assert of["sqs."] <= 0.66 * IMAGES, requests
