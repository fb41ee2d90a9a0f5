"""`tagfleet aws up` reports what cannot be launched before it creates anything: processors, types, zones, quotas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from ami.aws.account import Account, Image, InstanceType, Network, Quota
from core.aws.clients import Clients
from core.errors import Misconfigured
from tagfleet.deployment.preflight import capacity_warnings, check_architectures
from tests.cloud import REGION, Cloud
from tests.stack.commands import deployment_in

ARM, X86 = frozenset({"arm64"}), frozenset({"x86_64"})
KINDS = {
    "g4dn.xlarge": InstanceType(4, X86),
    "g5g.xlarge": InstanceType(4, ARM),
    "c7i.xlarge": InstanceType(4, X86),
    "c7i.4xlarge": InstanceType(16, X86),
    "t4g.small": InstanceType(2, ARM),
}
IMAGE = Image("ami-1", "worker", "/dev/xvda", "x86_64")
NETWORK = Network("vpc-1", ("subnet-1a", "subnet-1b"), (f"{REGION}a", f"{REGION}b"), ())


class Known(Account):
    """An account whose quotas, and whose types' zones, are given. Asks AWS nothing."""

    def __init__(
        self, clients: Clients, quotas: Mapping[str, float], zones: Mapping[str, frozenset[str]] | None = None
    ):
        super().__init__(clients)
        self._quotas = quotas
        self._zones = zones

    def quota_of(self, type: str, market: str) -> Quota | None:
        key = f"{type[0]} {market}"
        return Quota(f"L-{key}", key, self._quotas[key]) if key in self._quotas else None

    def zones_of(self, types: object) -> Mapping[str, frozenset[str]]:
        return self._zones or dict.fromkeys(KINDS, frozenset(NETWORK.zones))


def pool(*choices: str) -> dict[str, list[tuple[str, str]]]:
    return {"resnet50": [(type, market) for type, _, market in (choice.partition(":") for choice in choices)]}


@pytest.mark.parametrize(
    ("architecture", "types", "wrong"),
    [
        ("x86_64", ["g4dn.xlarge", "c7i.xlarge"], ""),
        ("arm64", ["g4dn.xlarge"], "g4dn.xlarge is x86_64"),
        ("x86_64", ["g4dn.xlarge", "g5g.xlarge"], "g5g.xlarge is arm64"),
        ("arm64", ["g5g.xlarge", "t4g.small"], ""),
        ("x86_64", ["unheard.of"], ""),
    ],
)
def test_an_image_runs_on_every_type_that_its_workers_may_be_launched_as(
    architecture: str, types: list[str], wrong: str
) -> None:
    offerings = {"fine": [], **pool(*(f"{type}:spot" for type in types))}
    image = replace(IMAGE, architecture=architecture)
    if not wrong:
        check_architectures(KINDS, image, offerings)
        return
    with pytest.raises(Misconfigured) as caught:
        check_architectures(KINDS, image, offerings)
    assert str(caught.value).startswith(
        f"pool resnet50: image ami-1 is made for {architecture}, and {wrong}: choose other types in aws.offerings"
    )


def test_the_image_of_hosts_runs_on_their_type() -> None:
    check_architectures(KINDS, IMAGE, {}, ("t4g.small", replace(IMAGE, architecture="arm64")))
    with pytest.raises(Misconfigured, match=r"hosts: image ami-1 is made for x86_64, and t4g\.small is arm64: give"):
        check_architectures(KINDS, IMAGE, {}, ("t4g.small", IMAGE))


def test_an_image_for_other_processors_is_refused_before_anything_is_made(cloud: Cloud, tmp_path: Path) -> None:
    images = cloud.client("ec2").describe_images(Filters=[{"Name": "architecture", "Values": ["arm64"]}])["Images"]
    name = cloud.name("arm")
    done = deployment_in(cloud, name, tmp_path)("aws", "up", "--yes", "--image", images[0]["ImageId"])
    assert "is made for arm64, and g4dn.xlarge is x86_64: choose other types" in str(done.exception)
    assert "\n" not in str(done.exception)
    assert not cloud.client("s3").list_buckets(Prefix=name)["Buckets"]


@pytest.mark.parametrize(
    ("quotas", "choices", "told"),
    [
        ({"g spot": 40.0}, ["g4dn.xlarge:spot"], ""),
        ({"g spot": 16.0}, ["g4dn.xlarge:spot"], "may run 4 of the 10 workers"),
        ({"g spot": 0.0}, ["g4dn.xlarge:spot"], "may run 0 of the 10 workers"),
        ({"g spot": 16.0, "g on-demand": 24.0}, ["g4dn.xlarge:spot", "g4dn.xlarge:on-demand"], ""),
        ({"g spot": 0.0, "c spot": 40.0}, ["g4dn.xlarge:spot", "c7i.xlarge:spot"], ""),
        ({"c spot": 40.0}, ["c7i.4xlarge:spot"], "may run 2 of the 10 workers"),
        ({"c spot": 40.0}, ["c7i.4xlarge:spot", "c7i.xlarge:spot"], ""),
        ({"c spot": 8.0}, ["c7i.xlarge:spot", "g4dn.xlarge:on-demand"], ""),
    ],
    ids=[
        "enough", "too few", "none", "two markets", "another family", "large types", "one quota counted once", "unknown"
    ],
)  # fmt: skip
def test_quotas_that_hold_the_fleet_below_its_most_workers(
    cloud: Cloud, quotas: dict[str, float], choices: list[str], told: str
) -> None:
    said = list(capacity_warnings(Known(cloud.clients, quotas), KINDS, NETWORK, pool(*choices), 10))
    assert [told in line for line in said] == ([True] if told else [])


def test_what_to_ask_for_is_named_once_for_pools_of_the_same_offerings(cloud: Cloud) -> None:
    offerings = pool("g4dn.xlarge:spot")
    account = Known(cloud.clients, {"g spot": 16.0})
    assert list(capacity_warnings(account, KINDS, NETWORK, {**offerings, "pets": offerings["resnet50"]}, 10)) == [
        "pools resnet50, pets: this account may run 4 of the 10 workers of controller.max_workers (16 vCPUs of "
        "'g spot'). Ask for 40 vCPUs of 'g spot' (L-g spot) in Service Quotas, Amazon EC2"
    ]


@pytest.mark.parametrize(
    ("zones", "told"),
    [
        ({f"{REGION}a", f"{REGION}b"}, []),
        ({f"{REGION}a"}, [f"c7i.xlarge is not offered in {REGION}b: it is launched only in the other zones"]),
        ({f"{REGION}c"}, [f"c7i.xlarge is offered in {REGION}c, where no subnet is"]),
        (set(), ["c7i.xlarge is offered in no zone of this region, where no subnet is"]),
    ],
)
def test_types_that_some_zones_do_not_offer(cloud: Cloud, zones: set[str], told: list[str]) -> None:
    account = Known(cloud.clients, {}, {"c7i.xlarge": frozenset(zones)})
    said = list(capacity_warnings(account, KINDS, NETWORK, pool("c7i.xlarge:spot"), 10))
    assert [line.startswith(start) for line, start in zip(said, told, strict=True)] == [True] * len(told)


def test_types_are_described_as_ec2_describes_them(cloud: Cloud) -> None:
    account = Account(cloud.clients)
    kinds = account.types(["g4dn.xlarge", "c7g.xlarge", "unheard.of"])
    assert kinds == {"g4dn.xlarge": InstanceType(4, X86), "c7g.xlarge": InstanceType(4, ARM)}
    assert {zone[:-1] for zone in account.zones_of(["g4dn.xlarge"])["g4dn.xlarge"]} == {REGION}
    said = list(capacity_warnings(Known(cloud.clients, {}), kinds, NETWORK, pool("unheard.of:spot"), 10))
    assert said == ["this region has no instance type unheard.of"]


@pytest.mark.parametrize(
    ("type", "market", "code"),
    [
        ("c7i.xlarge", "on-demand", "L-1216C47A"),
        ("im4gn.xlarge", "spot", "L-34B43A08"),
        ("gr6.4xlarge", "spot", "L-3819A6DF"),
        ("vt1.3xlarge", "on-demand", "L-DB2E81BA"),
        ("p4de.24xlarge", "spot", "L-7212CCBC"),
        ("p5en.48xlarge", "spot", "L-C4BD4855"),
        ("p5.48xlarge", "on-demand", "L-417A185B"),
        ("inf2.xlarge", "on-demand", ""),
        ("trn1.2xlarge", "on-demand", ""),
        ("dl1.24xlarge", "on-demand", ""),
        ("mac2.metal", "on-demand", ""),
        ("hpc7g.4xlarge", "on-demand", ""),
        ("u-6tb1.metal", "spot", ""),
    ],
)  # fmt: skip
def test_a_type_counts_for_the_quota_of_its_own_family(type: str, market: str, code: str) -> None:
    """The first letter alone takes trn1 for a T and inf2 for an I."""
    asked: list[str] = []

    class Quotas:
        def get_service_quota(self, *, ServiceCode: str, QuotaCode: str) -> dict[str, dict[str, float]]:  # noqa: N803
            asked.append(f"{ServiceCode} {QuotaCode}")
            return {"Quota": {"Value": 64.0}}

    class Told(Clients):
        def of(self, service: str) -> Quotas:
            assert service == "service-quotas"
            return Quotas()

    found = Account(Told(REGION)).quota_of(type, market)
    assert asked == ([f"ec2 {code}"] if code else [])
    assert (found.vcpus if found else None) == (64.0 if code else None)
