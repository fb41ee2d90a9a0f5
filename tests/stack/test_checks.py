"""`tagfleet aws up` warns before it creates anything, and its checks create nothing."""

from __future__ import annotations

import pytest

from ami.aws.account import Account, Image, Network
from core.errors import Misconfigured
from tagfleet.deployment.preflight import capacity_warnings, check_gpus, image_warnings, spot_refused
from tests.cloud import Cloud

IMAGE = Image("ami-1", "worker", "/dev/xvda", "x86_64")
NETWORK = Network("vpc-1", ("subnet-1a",), ("eu-central-1a",), ())


@pytest.mark.parametrize(
    ("runs_on", "types", "told"),
    [
        ("cpu", ["g4dn.xlarge", "c7i.xlarge"], True),
        ("cpu", ["c7i.xlarge"], False),
        ("gpu", ["g4dn.xlarge"], False),
        ("", ["g4dn.xlarge"], False),
    ],
)
def test_a_gpu_that_would_be_paid_for_and_left_idle(runs_on: str, types: list[str], told: bool) -> None:
    image = Image("ami-1", "worker", "/dev/xvda", "x86_64", runs_on)
    said = [line for line in image_warnings(image, NETWORK, types) if "GPU" in line]
    assert bool(said) is told
    assert all("ami-1 was baked for a CPU; on g4dn.xlarge you would" in line for line in said)


@pytest.mark.parametrize("runs_on", ["gpu", ""])
def test_a_card_that_our_torch_cannot_run_is_refused_in_one_sentence(runs_on: str) -> None:
    image = Image("ami-1", "worker", "/dev/xvda", "x86_64", runs_on)
    check_gpus(image, ["g4dn.xlarge", "g5.xlarge", "g6.xlarge", "p4d.24xlarge", "p5.48xlarge", "c7i.xlarge"])
    with pytest.raises(Misconfigured) as refused:
        check_gpus(image, ["g4dn.xlarge", "p3.2xlarge"])
    said = str(refused.value)
    assert said.startswith("no worker can start on p3.2xlarge (Tesla V100, 7.0): torch ")
    assert said.endswith("choose other types in aws.offerings")


def test_an_image_for_a_cpu_starts_on_any_card() -> None:
    check_gpus(Image("ami-1", "worker", "/dev/xvda", "x86_64", "cpu"), ["p3.2xlarge"])


class Watched(Account):
    """Notes that something was made, and lacks the right to it."""

    made = 0

    def allow_spot(self) -> None:
        self.made += 1
        raise Misconfigured("you may not iam:CreateServiceLinkedRole")


def test_nothing_is_made_by_looking(cloud: Cloud) -> None:
    account = Watched(cloud.clients)
    choice = {"resnet50": [("c7i.xlarge", "spot")]}
    list(image_warnings(IMAGE, NETWORK, ["c7i.xlarge"]))
    list(capacity_warnings(account, account.types(["c7i.xlarge"]), NETWORK, choice, 10))
    assert not account.made
    assert spot_refused(account, ["on-demand"]) == ""
    assert not account.made
    assert spot_refused(account, ["spot"]).startswith(
        "you may not iam:CreateServiceLinkedRole. Spot instances do not start without that role"
    )
