"""With EC2's faults, and with two controllers, the cap holds and every image is tagged."""

from __future__ import annotations

import io

import pytest

from bench.deployment import wait_until
from tagfleet.client import Client

pytestmark = [pytest.mark.aws, pytest.mark.long, pytest.mark.timeout(300)]


def tag(deployment, photos):
    """Send the photos and wait until each is tagged."""
    with Client(deployment.url) as client:
        batch = client.create_batch()
        client.upload(batch, [(name, io.BytesIO(content)) for name, content in photos])
        client.close(batch)
        items = list(client.stream(batch))
    assert [item.status for item in items] == ["succeeded"] * len(photos)


def test_without_spot_capacity_workers_come_on_demand(deploy, make_photos):
    sold_out = ["*:*:spot=InsufficientInstanceCapacity"]
    deployment = deploy(max_workers=1, sold_out=sold_out, hidden_s=1.0, shutdown_s=1.0)
    machines = deployment.machines
    tag(deployment, make_photos(5))
    wait_until(lambda: not machines.billed())
    assert machines.markets == ["on-demand"]
    assert machines.most == 1
    assert "launch fell short" in deployment.log("controller")


def test_a_launch_whose_answer_is_lost_is_not_done_twice(deploy, make_photos):
    deployment = deploy(max_workers=2, lose_answers=True)
    machines = deployment.machines
    tag(deployment, make_photos(5))
    wait_until(lambda: not machines.billed())
    assert machines.most <= 2
    assert len(machines.markets) == machines.listed()


def test_two_controllers_keep_the_cap_and_the_second_takes_over(deploy, make_photos):
    deployment = deploy(max_workers=1)
    machines = deployment.machines
    deployment.start("controller", as_another="standby")
    wait_until(lambda: "standing by" in deployment.log("standby") + deployment.log("controller"))
    leads, stands_by = ("controller", "standby")
    if "standing by" in deployment.log("controller"):
        leads, stands_by = stands_by, leads
    tag(deployment, make_photos(3))
    deployment.kill(leads)
    tag(deployment, make_photos(3, first=3))
    wait_until(lambda: not machines.billed())
    assert "leading as" in deployment.log(stands_by)
    assert machines.most == 1
