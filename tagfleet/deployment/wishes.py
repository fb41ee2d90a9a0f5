"""What a person asks of a deployment, and what that means as a template's shape and parameters. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network

from ami.stack import Shape
from config.settings import Settings
from core.aws.account import Image, Network
from core.aws.metrics import NAMESPACE
from core.errors import Misconfigured

_OWN_PAGE = "http://127.0.0.1:8000,http://localhost:8000"
_USUAL_SPEND = 20.0
_ROOT_GIB = 40
"""The template's own."""
_HOST_TYPES = {"x86_64": "t3.small", "arm64": "t4g.small"}
"""By the architecture of the hosts' image."""
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_HOST_NAME = re.compile(r"([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z0-9-]+")
_CERTIFICATE = re.compile(r"arn:[a-z-]+:acm:[a-z0-9-]+:\d+:certificate/\S+")


@dataclass(frozen=True, slots=True)
class Wishes:
    """None, or empty, is what the stack has already, or else the usual."""

    image: str | None = None
    hosts: str | None = None
    host_image: str | None = None
    certificate: str | None = None
    domain: str | None = None
    clients: str | None = None
    email: str | None = None
    subnets: tuple[str, ...] = ()
    upload_days: int | None = None
    sources: tuple[str, ...] = ()


def shape(settings: Settings, parameters: Mapping[str, str]) -> Shape:
    """Of the template whose parameters are these."""
    return Shape(
        pools=tuple(settings.pools),
        namespace=NAMESPACE,
        visibility_timeout_s=round(settings.queue.visibility_timeout_s),
        max_receives=settings.queue.max_receives,
        subnets=_listed(parameters["Subnets"]),
        sources=_listed(parameters.get("Sources", "")),
    )


def parameters(
    wishes: Wishes,
    present: Mapping[str, str],
    image: Image,
    host_image: Image | None,
    network: Network,
    settings: Settings,
) -> dict[str, str]:
    """The template's parameters. Raises Misconfigured for what cannot be, and where hosts lack what they need."""
    _check(wishes)
    chosen = {key: value for key, value in present.items() if value}
    for name, wish in {
        "Hosts": wishes.hosts,
        "Certificate": wishes.certificate,
        "Domain": wishes.domain,
        "Clients": wishes.clients,
        "AlarmEmail": wishes.email,
        "UploadDays": None if wishes.upload_days is None else str(wishes.upload_days),
        "Sources": ",".join(wishes.sources) if wishes.sources else None,
    }.items():
        if wish is not None:
            chosen[name] = wish
    spend = settings.controller.budget_per_hour or _USUAL_SPEND
    chosen |= {
        "Image": image.id,
        "RootDevice": image.root_device,
        "Vpc": network.vpc,
        "Subnets": ",".join(network.subnets),
        "SpendPerHour": f"{spend:g}",
    }
    least = max(image.root_gib, host_image.root_gib if host_image else 0)
    if least > int(chosen.get("RootGiB", _ROOT_GIB)):
        chosen["RootGiB"] = str(least)
    if host_image is not None:
        chosen |= {"HostImage": host_image.id, "HostRootDevice": host_image.root_device}
        if chosen.get("HostType", _HOST_TYPES["x86_64"]) in _HOST_TYPES.values():
            chosen["HostType"] = _HOST_TYPES.get(host_image.architecture, _HOST_TYPES["x86_64"])
    hosts = chosen.get("Hosts", "none")
    new_database = hosts != "none" and present.get("Hosts", "none") == "none"
    chosen["Protected"] = "no" if new_database else "yes"
    _check_hosts(hosts, chosen, host_image, network)
    if host_image is None:
        chosen["HostImage"] = image.id  # it stands in: an older one may be gone, and CloudFormation looks
    domain = chosen.get("Domain")
    chosen["Origins"] = f"https://{domain}" if hosts == "two" and domain else _OWN_PAGE
    return chosen


def _check(wishes: Wishes) -> None:
    """AWS would find most of it minutes later, and of a bucket's name nothing at all: it would be nobody's."""
    for source in filter(None, wishes.sources):
        if address := re.match("s3://([^/]+)", source):
            raise Misconfigured(f"--source {source}: a bucket's name alone, {address[1]}; all of it can be read then")
        if not _BUCKET.fullmatch(source):
            raise Misconfigured(f"--source {source}: no bucket can have that name")
    if wishes.domain and not _HOST_NAME.fullmatch(wishes.domain):
        raise Misconfigured(f"--domain {wishes.domain}: a name alone, as tags.example.org")
    if wishes.certificate and not _CERTIFICATE.fullmatch(wishes.certificate):
        raise Misconfigured(f"--certificate {wishes.certificate}: an ARN of a certificate in ACM is needed")
    if wishes.clients and not _is_network(wishes.clients):
        raise Misconfigured(
            f"--clients {wishes.clients}: addresses as 203.0.113.0/24 are needed, 203.0.113.7/32 for one"
        )
    if wishes.email and not re.fullmatch(r"[^@\s]+@[^@\s]+", wishes.email):
        raise Misconfigured(f"--email {wishes.email}: an address of e-mail is needed")


def _is_network(text: str) -> bool:
    try:
        IPv4Network(text)
    except ValueError:
        return False
    return "/" in text


def _check_hosts(hosts: str, chosen: Mapping[str, str], host_image: Image | None, network: Network) -> None:
    if hosts == "none":
        return
    if host_image is None:
        raise Misconfigured(f"--hosts {hosts}: hosts have an image of their own; bake it and give --host-image")
    if len(network.zones) < 2:
        raise Misconfigured(
            f"--hosts {hosts}: the catalogue's database needs subnets in two zones, and {', '.join(network.subnets)} "
            f"lie in {network.zones[0]}; name more with --subnet"
        )
    if hosts == "two" and len(network.zones) < len(network.subnets):
        raise Misconfigured(
            f"--hosts two: a load balancer takes one subnet of each zone, and {', '.join(network.subnets)} lie in "
            f"{', '.join(network.zones)}; name them with --subnet"
        )
    if hosts == "two" and not (chosen.get("Certificate") and chosen.get("Domain")):
        raise Misconfigured(
            "--hosts two: a load balancer with TLS needs --domain, and --certificate: the ARN of a certificate for it "
            "in ACM of this region"
        )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part for part in (piece.strip() for piece in text.split(",")) if part)
