"""A deployment on AWS from the first photo to the last instance, with real processes on simulated machines."""

from __future__ import annotations

import io
import json

import pytest

from bench.deployment import wait_until
from tagfleet.client import Client

pytestmark = [pytest.mark.aws, pytest.mark.timeout(600)]


def test_uploaded_and_dropped_photos_are_tagged_and_then_nothing_runs(deploy, make_photos):
    deployment = deploy(max_workers=1)
    stack, machines = deployment.stack, deployment.machines
    photos = make_photos(10)
    [(_, dropped)] = make_photos(1, first=1000)
    with Client(deployment.url) as client:
        batch = client.create_batch()
        sent = client.upload(batch, [(name, io.BytesIO(content)) for name, content in photos])
        stack.drop("images/2026/summer trip/é.jpg", dropped)
        client.close(batch)
        items = list(client.stream(batch))
        assert {item.status for item in items} == {"succeeded"}
        assert sorted(item.image_id for item in items) == sorted(item.image_id for item in sent)
    assert len(stack.results(f"results/{batch.id}/")) == len(photos)
    wait_until(lambda: len(stack.results()) == len(photos) + 1)
    [found] = [result for key, result in stack.results().items() if batch.id not in key]
    assert found["tags"]
    assert found["error"] is None
    wait_until(lambda: not machines.billed())
    assert len(machines.seen) == machines.most == 1
    wait_until(lambda: stack.outstanding("jobs-resnet50") == stack.outstanding("results") == 0)
    [instance] = machines.seen
    lines = [json.loads(line) for line in machines.log(instance).splitlines()]
    assert [line["worker"] for line in lines if line["event"] == "worker ready"] == [instance]
