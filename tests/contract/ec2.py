"""EC2's fleet for the contract suite, against the server of `tests.cloud`."""

from __future__ import annotations

import time
from functools import cache

from core.aws.clients import Clients
from core.aws.fleet import Ec2Fleet, template_name
from core.aws.offerings import OfferingList
from core.aws.prices import Prices
from tests.cloud import Cloud, clients_of

POOLS = ("resnet50", "florence2")
CHOICES = ("g4dn.xlarge:spot", "g4dn.xlarge:on-demand")
PRICES = {"g4dn.xlarge": 0.526, "c7i.xlarge": 0.1785}


class Ec2Fleets:
    needs = ("cloud",)
    examples = 2

    def __init__(self, cloud: Cloud) -> None:
        self.cloud = cloud
        self.deployment = cloud.name("fleet")
        self._ahead = 0.0
        self.subnets = [each["SubnetId"] for each in cloud.client("ec2").describe_subnets()["Subnets"]][:2]
        for pool in POOLS:
            cloud.client("ec2").create_launch_template(
                LaunchTemplateName=template_name(self.deployment, pool),
                LaunchTemplateData={"ImageId": "ami-12345678", "InstanceType": "t3.micro"},
            )

    def open(self, *, page: int = 1000) -> Ec2Fleet:
        return self._open(impatient(self.cloud.endpoint), page)

    def stubborn(self) -> Ec2Fleet:
        self.cloud.ec2(self.deployment, shutdown_s=120)
        return self.open()

    def without_capacity(self) -> Ec2Fleet:
        self.cloud.ec2(self.deployment, sold_out=["*:*:*=InsufficientInstanceCapacity"])
        return self.open()

    def unavailable(self) -> Ec2Fleet:
        return self._open(impatient("http://127.0.0.1:9"))

    def booted(self, id: str) -> bool:
        return True

    def crash(self, id: str) -> None:
        self.cloud.client("ec2").terminate_instances(InstanceIds=[id])

    def pass_time(self, seconds: float) -> None:
        self.cloud.pass_time(seconds)
        self._ahead += seconds

    def clock(self) -> float:
        return time.monotonic() + self._ahead

    def _open(self, clients: Clients, page: int = 1000) -> Ec2Fleet:
        prices = Prices(clients, PRICES, self.clock)
        menu = OfferingList(clients, dict.fromkeys(POOLS, CHOICES), self.subnets, prices, self.clock)
        return Ec2Fleet(clients, self.deployment, menu, page=page, clock=self.clock)


@cache
def impatient(endpoint: str) -> Clients:
    """Made once: to make one takes boto3 a third of a second."""
    return clients_of(endpoint, attempts=1)
