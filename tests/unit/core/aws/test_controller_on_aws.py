"""The real controller over S3, SQS and EC2: its ledger, its launches and their replays."""

from __future__ import annotations

import time

import pytest

from config.settings import Settings
from controller.loop import Controller, Ports
from core.fleet.roster import Heartbeat, Roster, WorkerState
from core.storage.ports import InstanceState
from core.util.clock import Clock
from tests.cloud import Cloud
from tests.contract.aws import S3Stores, SqsQueues
from tests.contract.ec2 import Ec2Fleets


class Deployment:
    def __init__(self, cloud: Cloud, settings: Settings) -> None:
        self.cloud = cloud
        self.ec2 = Ec2Fleets(cloud)
        self.fleet = self.ec2.open()
        self.ports = Ports(S3Stores(cloud).open(), self.fleet, {"resnet50": SqsQueues(cloud).open("jobs-resnet50")})
        limits = {"max_workers": 4, "throughput_prior": 1.0, "backlog_target_s": 5.0, "budget_per_hour": 1.2}
        self.settings = settings.controller.model_copy(update=limits)
        self.now = 0.0

    def controller(self) -> Controller:
        return Controller(self.ports, self.settings, clock=Clock(lambda: self.now, time.time))

    def tick(self, controller: Controller, times: int = 1) -> None:
        for _ in range(times):
            self.now += 1.0
            controller.tick()

    def alive(self) -> list[str]:
        return [one.market for one in self.fleet.instances() if one.state is not InstanceState.GONE]


@pytest.fixture
def deployment(cloud: Cloud, settings: Settings):
    made = Deployment(cloud, settings)
    made.ports.queues["resnet50"].send([f"image {number}" for number in range(20)])
    yield made
    made.fleet.terminate([one.id for one in made.fleet.instances()])


def test_sold_out_spot_falls_back_to_on_demand_within_tick_and_budget(deployment: Deployment) -> None:
    name = deployment.ec2.deployment
    deployment.cloud.ec2(name, sold_out=["*:*:spot=InsufficientInstanceCapacity"])
    controller = deployment.controller()
    deployment.tick(controller)
    assert deployment.alive() == ["on-demand"] * 2, "a third at $0.526/h would exceed $1.20/h"
    deployment.tick(controller, 3)
    assert len(deployment.alive()) == 2


def test_a_lost_answer_and_a_takeover_launch_nothing_twice(deployment: Deployment) -> None:
    deployment.cloud.ec2(deployment.ec2.deployment, lose_answers=True)
    deployment.tick(deployment.controller(), 2)
    deployment.cloud.ec2(deployment.ec2.deployment, lose_answers=False)
    before = deployment.alive()
    assert before
    deployment.now += 60.0
    deployment.tick(deployment.controller(), 3)
    assert deployment.alive() == before


def test_instances_that_ec2_does_not_list_yet_are_not_launched_again(deployment: Deployment) -> None:
    deployment.cloud.ec2(deployment.ec2.deployment, hidden_s=60)
    deployment.tick(deployment.controller(), 3)
    deployment.now += 60.0
    deployment.tick(deployment.controller(), 3)
    deployment.cloud.ec2(deployment.ec2.deployment, hidden_s=0)
    assert len(deployment.alive()) == 4


def test_an_instance_that_somebody_ended_is_replaced(deployment: Deployment) -> None:
    deployment.ports.queues["resnet50"].send([f"more {number}" for number in range(80)])
    controller = deployment.controller()
    deployment.tick(controller, 2)
    assert len(deployment.alive()) == 4
    for instance in deployment.fleet.instances():
        Roster(deployment.ports.store).beat(
            Heartbeat(
                worker_id=instance.id,
                pool="resnet50",
                tagger="resnet50",
                state=WorkerState.BUSY,
                seq=1,
                at=0.0,
                state_since=0.0,
                started_at=0.0,
            )
        )
    deployment.tick(controller)
    deployment.ec2.crash(deployment.fleet.instances()[0].id)
    assert len(deployment.alive()) == 3
    deployment.tick(controller)
    assert len(deployment.alive()) == 4
