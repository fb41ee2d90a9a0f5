"""What an account of AWS has: who asks, images, networks, limits. Read before anything is built on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from botocore.exceptions import ClientError

from core.aws.clients import Clients
from core.aws.errors import code_of, explained
from core.errors import Misconfigured

_QUOTAS = {
    ("standard", "on-demand"): "L-1216C47A",
    ("standard", "spot"): "L-34B43A08",
    ("g", "on-demand"): "L-DB2E81BA",
    ("g", "spot"): "L-3819A6DF",
    ("p", "on-demand"): "L-417A185B",
    ("p", "spot"): "L-7212CCBC",
}
"""Codes of Service Quotas: vCPUs of running instances, by family and market."""
_STANDARD = "acdhimrtz"


RUNS_ON_TAG = "tagfleet:runs-on"


@dataclass(frozen=True, slots=True)
class Image:
    id: str
    name: str
    root_device: str
    architecture: str
    runs_on: str = ""
    """What its worker was baked for: cpu or gpu; empty where nobody says."""
    root_gib: int = 0
    """Of its root volume, which no instance's may be smaller than; 0 where nobody says."""


@dataclass(frozen=True, slots=True)
class Network:
    vpc: str
    subnets: tuple[str, ...]
    zones: tuple[str, ...]
    without_address: tuple[str, ...]
    """Subnets whose instances get no public address: they need a NAT gateway or endpoints to reach S3 and SQS."""


class Account:
    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def id(self) -> str:
        """Whose credentials these are. Raises Misconfigured where there are none that AWS takes."""
        with explained("see whose credentials these are", "sts"):
            return str(self._clients.of("sts").get_caller_identity()["Account"])

    def image(self, id: str) -> Image:
        """Raises Misconfigured where the image is gone, or not for this account."""
        advice = f"there is no image {id} in {self._clients.region}; bake one with `tagfleet ami bake`, or name another"
        with explained(f"look at image {id}", "ec2"):
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
        """Those subnets, or all of the default VPC. Raises Misconfigured where there are none."""
        with explained("look at the subnets", "ec2"):
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
            raise Misconfigured(f"the subnets lie in several VPCs ({', '.join(vpcs)}); name subnets of one")
        found.sort(key=lambda subnet: (subnet["AvailabilityZone"], subnet["SubnetId"]))
        return Network(
            vpcs[0],
            tuple(subnet["SubnetId"] for subnet in found),
            tuple(dict.fromkeys(subnet["AvailabilityZone"] for subnet in found)),
            tuple(subnet["SubnetId"] for subnet in found if not subnet.get("MapPublicIpOnLaunch")),
        )

    def vcpus(self, types: Sequence[str]) -> Mapping[str, int]:
        """Of each type that this region has; those that it has not are left out."""
        if not types:
            return {}
        with explained("look at the instance types", "ec2"):
            pages = self._clients.ec2.get_paginator("describe_instance_types").paginate(
                Filters=[{"Name": "instance-type", "Values": list(types)}]
            )
            return {
                str(found["InstanceType"]): int(found["VCpuInfo"]["DefaultVCpus"])
                for page in pages
                for found in page["InstanceTypes"]
            }

    def quota(self, type: str, market: str) -> float | None:
        """How many vCPUs of that type's family may run at once; None where this family is not known here."""
        family = type[0] if type[0] in "gp" else "standard" if type[0] in _STANDARD else ""
        code = _QUOTAS.get((family, market))
        if code is None:
            return None
        with explained("read the quotas", "servicequotas"):
            answer = self._clients.of("service-quotas").get_service_quota(ServiceCode="ec2", QuotaCode=code)
        return float(answer["Quota"]["Value"])

    def allow_spot(self) -> None:
        """Make the role by which EC2 ends and starts spot instances, which an account has from its first use on."""
        with explained("make the role of spot instances", "iam"):
            try:
                self._clients.of("iam").create_service_linked_role(AWSServiceName="spot.amazonaws.com")
            except ClientError as error:
                if code_of(error) not in (
                    "InvalidInput",
                    "InvalidInputException",
                    "EntityAlreadyExists",
                ):  # it is there already
                    raise


def _image(found: Mapping[str, Any]) -> Image:
    root = found.get("RootDeviceName") or "/dev/sda1"
    sizes = {
        each.get("DeviceName"): each.get("Ebs", {}).get("VolumeSize") for each in found.get("BlockDeviceMappings", [])
    }
    return Image(
        found["ImageId"],
        found.get("Name", ""),
        root,
        found.get("Architecture", "x86_64"),
        next((tag["Value"] for tag in found.get("Tags", []) if tag["Key"] == RUNS_ON_TAG), ""),
        int(sizes.get(root) or 0),
    )


_DEFAULT = [{"Name": "default-for-az", "Values": ["true"]}]
