"""Kill every process of a deployment on AWS during a batch: each image still gets exactly one result."""

from __future__ import annotations

import io
from collections import Counter

import pytest

from bench.deployment import wait_until
from core.fleet.metrics import Metric
from tagfleet.client import Client, Item, Patience

pytestmark = [pytest.mark.aws, pytest.mark.long, pytest.mark.timeout(600)]


class Sender:
    """Uploads photos into one batch and records what it sent."""

    def __init__(self, deployment, client, make_photos):
        self.deployment, self.client, self.make_photos = deployment, client, make_photos
        self.batch = client.create_batch()
        self.sent = []

    def send(self, count):
        photos = self.make_photos(count, first=len(self.sent))
        self.sent += self.client.upload(self.batch, [(name, io.BytesIO(content)) for name, content in photos])

    def work_is_under_way(self):
        """Send until a running worker holds messages; return the oldest running instance."""
        stack, machines = self.deployment.stack, self.deployment.machines
        while True:
            self.send(10)
            wait_until(lambda: stack.in_flight("jobs-resnet50") or not stack.outstanding("jobs-resnet50"), 120)
            running = machines.running
            if running and stack.in_flight("jobs-resnet50"):
                return running[0]


def test_every_image_has_one_result_after_kills_and_nothing_runs(deploy, make_photos, cloud):
    deployment = deploy(max_workers=2)
    stack, machines = deployment.stack, deployment.machines
    with Client(deployment.url, patience=Patience(total_s=60)) as client:
        sender = Sender(deployment, client, make_photos)

        killed = sender.work_is_under_way()
        machines.kill_worker(killed)
        wait_until(lambda: machines.log(killed).count("worker ready") == 2)

        crashed = sender.work_is_under_way()
        machines.crash(crashed)

        for role in ("controller", "collector", "web"):
            sender.work_is_under_way()
            deployment.kill(role)
            deployment.start(role)

        taken = sender.work_is_under_way()
        machines.interrupt(taken)
        wait_until(lambda: taken not in machines.billed(), 120)
        sender.send(10)

        client.close(sender.batch)
        items = list(client.stream(sender.batch))
        ended = client.batch(sender.batch)
        told = [event.image_id for event in client.events(sender.batch.id) if isinstance(event, Item)]
    wait_until(lambda: not machines.billed(), 120)

    names = Counter(item.name for item in sender.sent)
    assert Counter(item.name for item in items) == names
    assert {item.status for item in items} == {"succeeded"}
    assert Counter(told) == Counter(item.image_id for item in sender.sent)
    assert (ended.status, ended.total, ended.completed, ended.failed) == ("completed", len(items), len(items), 0)
    assert len(stack.results(f"results/{sender.batch.id}/")) == len(items)
    wait_until(lambda: not stack.outstanding("results"))
    for queue in ("jobs-resnet50", "jobs-resnet50-dead", "results-dead"):
        assert stack.outstanding(queue) == 0
    assert not machines.running
    assert len(machines.seen) >= 3
    assert machines.most <= 2
    assert "this machine is taken away: draining" in machines.log(taken)

    deployment.stop("controller")
    found = cloud.client("cloudwatch").list_metrics(
        Namespace="Tagfleet", Dimensions=[{"Name": "Deployment", "Value": stack.name}]
    )["Metrics"]
    assert {each["MetricName"] for each in found} == set(Metric)
