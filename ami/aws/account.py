"""Looks up what a deployment needs of an AWS account: its id, images, networks, instance types, quotas."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from core.aws.clients import Clients
from core.aws.errors import code_of, translate_errors
from core.errors import Misconfigured

_STANDARD = "Standard (A, C, D, H, I, M, R, T, Z)"
_QUOTAS = {
    (_STANDARD, "on-demand"): "L-1216C47A",
    (_STANDARD, "spot"): "L-34B43A08",
    ("G and VT", "on-demand"): "L-DB2E81BA",
    ("G and VT", "spot"): "L-3819A6DF",
    ("P", "on-demand"): "L-417A185B",
    ("P4, P3 and P2", "spot"): "L-7212CCBC",
    ("P5", "spot"): "L-C4BD4855",
    ("X", "on-demand"): "L-7295265B",
    ("X", "spot"): "L-E3A00192",
}
"""Codes of Service Quotas: vCPUs of running instances, by family and market, as Service Quotas names them.

https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/ec2-on-demand-instances.html#ec2-on-demand-instances-limits
https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/using-spot-limits.html
"""
_FAMILIES = {
    **dict.fromkeys(("a", "c", "d", "h", "i", "im", "is", "m", "r", "t", "z"), _STANDARD),
    **dict.fromkeys(("g", "gr", "vt"), "G and VT"),
    "p": "P",
    "x": "X",
}
"""The family by the letters of a type: `trn1` is not T, `inf2` not I, `dl1` not D."""


RUNS_ON_TAG = "tagfleet:runs-on"
SIGNALS_TAG = "tagfleet:signals"
"""Marks an image whose hosts signal their stack when they serve."""
USER_DATA_TAG = "tagfleet:user-data"
"""Marks an image that does not run user data, and takes only names from it."""
ROLE_TAG = "tagfleet:role"


@dataclass(frozen=True, slots=True)
class Image:
    id: str
    name: str
    root_device: str
    architecture: str
    runs_on: str = ""
    """The kind of worker it was baked for: cpu or gpu; empty if unknown."""
    root_gib: int = 0
    """The size of its root volume, which is an instance's least; 0 if unknown."""
    runs_user_data: bool = True
    """Whether it runs a script in its user data, so that it can be a base image."""
    silent: bool = False
    """Whether it was baked for hosts, by a version whose hosts do not signal their stack when they serve."""


@dataclass(frozen=True, slots=True)
class Network:
    vpc: str
    subnets: tuple[str, ...]
    zones: tuple[str, ...]
    without_address: tuple[str, ...]
    """Subnets without public addresses: their instances need a NAT gateway or endpoints to reach S3 and SQS."""
    cidrs: tuple[str, ...] = ()
    """The subnets' ranges of addresses."""


@dataclass(frozen=True, slots=True)
class InstanceType:
    vcpus: int
    architectures: frozenset[str]
    """`x86_64`, `arm64`; empty if EC2 does not say."""


@dataclass(frozen=True, slots=True)
class Quota:
    code: str
    name: str
    """As Service Quotas lists it."""
    vcpus: float
    """How many may run at once."""


class Account:
    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def id(self) -> str:
        """Return the account of these credentials. Raises Misconfigured if AWS does not accept them."""
        with translate_errors("see whose credentials these are", "sts"):
            return str(self._clients.of("sts").get_caller_identity()["Account"])

    def image(self, id: str) -> Image:
        """Return the image. Raises Misconfigured if it is gone, or not for this account."""
        advice = f"there is no image {id} in {self._clients.region}; bake one with `tagfleet ami bake`, or name another"
        with translate_errors(f"look at image {id}", "ec2"):
            try:
                found = self._clients.ec2.describe_images(ImageIds=[id])["Images"]
            except ClientError as error:
                if code_of(error).startswith("InvalidAMIID"):
                    raise Misconfigured(advice) from None
                raise
        if not found:
            raise Misconfigured(advice)
        if (state := found[0].get("State", "available")) != "available":
            raise Misconfigured(f"image {id} is {state}, not available; wait for it, or name another")
        return _image(found[0])

    def network(self, subnets: Sequence[str] = ()) -> Network:
        """Return these subnets, or all of the default VPC. Raises Misconfigured if there are none."""
        with translate_errors("look at the subnets", "ec2"):
            try:
                found = self._clients.ec2.describe_subnets(
                    **({"SubnetIds": list(subnets)} if subnets else {"Filters": _DEFAULT})
                )["Subnets"]
            except ClientError as error:
                if code_of(error).startswith("InvalidSubnetID"):
                    raise Misconfigured(
                        f"there is no such subnet in {self._clients.region}: {', '.join(subnets)}; see --subnet"
                    ) from None
                raise
        if not found:
            raise Misconfigured(
                f"{self._clients.region} has no default VPC; name subnets with --subnet, "
                "or make one with `aws ec2 create-default-vpc`"
            )
        vpcs = sorted({subnet["VpcId"] for subnet in found})
        if len(vpcs) > 1:
            raise Misconfigured(f"the subnets are in several VPCs ({', '.join(vpcs)}); name subnets of one")
        found.sort(key=lambda subnet: (subnet["AvailabilityZone"], subnet["SubnetId"]))
        return Network(
            vpcs[0],
            tuple(subnet["SubnetId"] for subnet in found),
            tuple(dict.fromkeys(subnet["AvailabilityZone"] for subnet in found)),
            tuple(subnet["SubnetId"] for subnet in found if not subnet.get("MapPublicIpOnLaunch")),
            tuple(dict.fromkeys(cidr for subnet in found for cidr in _cidrs(subnet))),
        )

    def types(self, types: Sequence[str]) -> Mapping[str, InstanceType]:
        """Describe each of these types that the region has."""
        if not types:
            return {}
        with translate_errors("look at the instance types", "ec2"):
            pages = self._clients.ec2.get_paginator("describe_instance_types").paginate(
                Filters=[{"Name": "instance-type", "Values": list(types)}]
            )
            return {
                str(found["InstanceType"]): InstanceType(
                    int(found["VCpuInfo"]["DefaultVCpus"]),
                    frozenset(found.get("ProcessorInfo", {}).get("SupportedArchitectures", ())),
                )
                for page in pages
                for found in page["InstanceTypes"]
            }

    def zones_of(self, types: Sequence[str]) -> Mapping[str, frozenset[str]]:
        """Return the zones of this region that each type is offered in."""
        found: dict[str, set[str]] = {type: set() for type in types}
        if types:
            with translate_errors("look at the zones of the instance types", "ec2"):
                pages = self._clients.ec2.get_paginator("describe_instance_type_offerings").paginate(
                    LocationType="availability-zone", Filters=[{"Name": "instance-type", "Values": list(types)}]
                )
                for page in pages:
                    for one in page["InstanceTypeOfferings"]:
                        found.setdefault(str(one["InstanceType"]), set()).add(one["Location"])
        return {type: frozenset(zones) for type, zones in found.items()}

    def quota_of(self, type: str, market: str) -> Quota | None:
        """Return how many vCPUs of that type's family may run at once; None for an unknown family."""
        family = _family(type, market)
        code = _QUOTAS.get((family, market))
        if code is None:
            return None
        name = f"All {family} Spot Instance Requests" if market == "spot" else f"Running On-Demand {family} instances"
        with translate_errors("read the quotas", "servicequotas"):
            answer = self._clients.of("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode=code)
        return Quota(code, name, float(answer["Quota"]["Value"]))

    def allow_spot(self) -> None:
        """Create the role by which EC2 manages spot instances; an account has it after their first use."""
        with translate_errors("make the role of spot instances", "iam"):
            try:
                self._clients.of("iam").create_service_linked_role(AWSServiceName="spot.amazonaws.com")
            except ClientError as error:
                if code_of(error) not in (
                    "InvalidInput",
                    "InvalidInputException",
                    "EntityAlreadyExists",
                ):  # it is there already
                    raise


def _family(type: str, market: str) -> str:
    """Return the family of Service Quotas that a type counts for; "" if unknown."""
    letters, generation = re.match("([a-z]*)([0-9]*)", type).groups()  # type: ignore[union-attr]  # it matches anything
    family = _FAMILIES.get(letters, "")
    if family == "P" and market == "spot":
        return "P4, P3 and P2" if generation in ("2", "3", "4") else f"P{generation}"
    return family


def _image(found: Mapping[str, Any]) -> Image:
    root = found.get("RootDeviceName") or "/dev/sda1"
    sizes = {
        each.get("DeviceName"): each.get("Ebs", {}).get("VolumeSize") for each in found.get("BlockDeviceMappings", [])
    }
    tags = {tag["Key"]: tag["Value"] for tag in found.get("Tags", [])}
    return Image(
        found["ImageId"],
        found.get("Name", ""),
        root,
        found.get("Architecture", "x86_64"),
        tags.get(RUNS_ON_TAG, ""),
        int(sizes.get(root) or 0),
        USER_DATA_TAG not in tags,
        tags.get(ROLE_TAG) == "host" and SIGNALS_TAG not in tags,
    )


_DEFAULT = [{"Name": "default-for-az", "Values": ["true"]}]


def _cidrs(subnet: Mapping[str, Any]) -> list[str]:
    """Return the ranges of a subnet's addresses, IPv4 and IPv6."""
    own = [subnet["CidrBlock"]] if subnet.get("CidrBlock") else []
    return [*own, *(each["Ipv6CidrBlock"] for each in subnet.get("Ipv6CidrBlockAssociationSet", []))]
