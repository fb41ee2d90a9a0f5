"""What is told before anything is made."""

from __future__ import annotations

import pytest

from core.aws.account import Account, Image, Network
from tagfleet.deployment.checks import warnings
from tests.cloud import Cloud

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
def test_a_gpu_that_would_be_paid_for_and_left_idle(cloud: Cloud, runs_on: str, types: list[str], told: bool) -> None:
    image = Image("ami-1", "worker", "/dev/xvda", "x86_64", runs_on)
    said = [line for line in warnings(Account(cloud.clients), image, NETWORK, types, ["on-demand"]) if "GPU" in line]
    assert bool(said) is told
    assert all("ami-1 was baked for a CPU, and g4dn.xlarge would" in line for line in said)
