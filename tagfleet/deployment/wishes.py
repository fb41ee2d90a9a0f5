"""What a person asks of a deployment, and what that means as a template's shape and parameters. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network

from ami.aws.account import Image, Network
from ami.stack import TemplateOptions
from config.settings import Settings
from core.aws.metrics import NAMESPACE
from core.errors import Misconfigured

_OWN_PAGE = "http://127.0.0.1:8000,http://localhost:8000"
_USUAL_SPEND = 20.0
_ROOT_GIB = 40
"""The template's own."""
_HOST_TYPES = {"x86_64": "t3.small", "arm64": "t4g.small"}
"""By the architecture of the hosts' image."""
_OF_HOSTS = {
    "HostSubnets": "--host-subnet",
    "EntranceSubnets": "--entrance-subnet",
    "DatabaseSubnets": "--database-subnet",
}
"""Parameters with subnets, beside the workers', and their options."""
_SCHEMES = {"public": "internet-facing", "internal": "internal"}
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_HOST_NAME = re.compile(r"([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z0-9-]+")
_KEY = re.compile(r"arn:[a-z-]+:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+")
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
    source_keys: tuple[str, ...] = ()
    """Keys of KMS that those images are encrypted with, beside those that `up` finds."""
    kms_key: str | None = None
    """For the deployment's own buckets."""
    host_subnets: tuple[str, ...] = ()
    entrance_subnets: tuple[str, ...] = ()
    database_subnets: tuple[str, ...] = ()
    entrance: str | None = None
    """`public` or `internal`."""


def subnets_of(wishes: Wishes, present: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return the subnets of hosts, load balancer and database, by parameter; without those that are the workers'.

    What was the workers' before follows them: only subnets that were once named stay where they are.
    """
    wished = {
        "HostSubnets": wishes.host_subnets,
        "EntranceSubnets": wishes.entrance_subnets,
        "DatabaseSubnets": wishes.database_subnets,
    }
    kept = {name: present.get(name, "") for name in wished if present.get(name) != present.get("Subnets")}
    found = {name: subnets or _listed(kept.get(name, "")) for name, subnets in wished.items()}
    return {name: subnets for name, subnets in found.items() if subnets}


def shape(settings: Settings, parameters: Mapping[str, str]) -> TemplateOptions:
    """Of the template whose parameters are these."""
    return TemplateOptions(
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
    others: Mapping[str, Network] | None = None,
) -> dict[str, str]:
    """The template's parameters. Raises Misconfigured for what cannot be, and where hosts lack what they need.

    `network` is the workers'; `others` those of hosts, load balancer and database by parameter, where they differ.
    """
    check(wishes)
    networks = {name: (others or {}).get(name, network) for name in _OF_HOSTS}
    chosen = {key: value for key, value in present.items() if value}
    chosen |= _wished(wishes)
    spend = settings.controller.budget_per_hour or _USUAL_SPEND
    chosen |= {
        "Image": image.id,
        "RootDevice": image.root_device,
        "Vpc": network.vpc,
        "Subnets": ",".join(network.subnets),
        **{name: ",".join(each.subnets) for name, each in networks.items()},
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
    if host_image and host_image.silent and hosts != "none" and present.get("Hosts", "none") != "none":
        raise Misconfigured(
            f"hosts: image {host_image.id} was baked by an earlier version, whose hosts do not say when they serve: "
            "the update would wait for that in vain; bake one (`tagfleet ami bake --role host`) and give --host-image"
        )
    new_database = hosts != "none" and present.get("Hosts", "none") == "none"
    chosen["Protected"] = "no" if new_database else "yes"
    _check_hosts(hosts, chosen, host_image, network, networks)
    if host_image is None:
        chosen["HostImage"] = image.id  # it stands in: an older one may be gone, and CloudFormation looks
    domain = chosen.get("Domain")
    chosen["Origins"] = f"https://{domain}" if hosts == "two" and domain else _OWN_PAGE
    return chosen


def _wished(wishes: Wishes) -> dict[str, str]:
    """Return the parameters that these wishes say something of."""
    said = {
        "Hosts": wishes.hosts,
        "Certificate": wishes.certificate,
        "Domain": wishes.domain,
        "Clients": wishes.clients,
        "AlarmEmail": wishes.email,
        "EntranceScheme": _SCHEMES[wishes.entrance] if wishes.entrance else None,
        "UploadDays": None if wishes.upload_days is None else str(wishes.upload_days),
        "Sources": ",".join(wishes.sources) if wishes.sources else None,
        "SourceKeys": ",".join(wishes.source_keys) if wishes.source_keys else None,
        "BucketKey": wishes.kms_key,
    }
    return {name: wish for name, wish in said.items() if wish is not None}


def check(wishes: Wishes) -> None:
    """Raise Misconfigured for what cannot be.

    AWS would find most of it minutes later, and of a bucket's name nothing at all: it would be nobody's.
    """
    for source in filter(None, wishes.sources):
        if address := re.match("s3://([^/]+)", source):
            raise Misconfigured(f"--source {source}: a bucket's name alone, {address[1]}; all of it can be read then")
        if not _BUCKET.fullmatch(source):
            raise Misconfigured(f"--source {source}: no bucket can have that name")
    for option, key in [*(("--source-key", each) for each in wishes.source_keys), ("--kms-key", wishes.kms_key)]:
        if key and not _KEY.fullmatch(key):
            raise Misconfigured(
                f"{option} {key}: an ARN of a key in KMS is needed, as arn:aws:kms:eu-central-1:123456789012:key/…"
            )
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


def _check_hosts(
    hosts: str,
    chosen: Mapping[str, str],
    host_image: Image | None,
    workers: Network,
    networks: Mapping[str, Network],
) -> None:
    if hosts == "none":
        return
    if host_image is None:
        raise Misconfigured(f"--hosts {hosts}: hosts have an image of their own; bake it and give --host-image")
    for name, network in networks.items():
        if network.vpc != workers.vpc:
            raise Misconfigured(
                f"{_OF_HOSTS[name]}: {', '.join(network.subnets)} lie in {network.vpc}, and the workers' subnets in "
                f"{workers.vpc}; name subnets of one"
            )
    database = networks["DatabaseSubnets"]
    if len(database.zones) < 2:
        raise Misconfigured(
            f"--hosts {hosts}: the catalogue's database needs subnets in two zones, and {', '.join(database.subnets)} "
            f"lie in {database.zones[0]}; name more with --subnet or --database-subnet"
        )
    if hosts == "two":
        _check_entrance(chosen, networks["EntranceSubnets"], networks["HostSubnets"])


def _check_entrance(chosen: Mapping[str, str], entrance: Network, hosts: Network) -> None:
    if len(entrance.zones) < len(entrance.subnets):
        raise Misconfigured(
            f"--hosts two: a load balancer takes one subnet of each zone, and {', '.join(entrance.subnets)} lie in "
            f"{', '.join(entrance.zones)}; name them with --subnet or --entrance-subnet"
        )
    if len(entrance.zones) < 2:
        raise Misconfigured(
            f"--hosts two: a load balancer needs subnets in two zones, and {', '.join(entrance.subnets)} lie in "
            f"{entrance.zones[0]}; name more with --entrance-subnet"
        )
    if apart := [zone for zone in hosts.zones if zone not in entrance.zones]:
        raise Misconfigured(
            f"--hosts two: hosts in {', '.join(apart)} would get no request, as the load balancer has no subnet there; "
            "name one with --entrance-subnet, or other ones with --host-subnet"
        )
    if not (chosen.get("Certificate") and chosen.get("Domain")):
        raise Misconfigured(
            "--hosts two: a load balancer with TLS needs --domain, and --certificate: the ARN of a certificate for it "
            "in ACM of this region"
        )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part for part in (piece.strip() for piece in text.split(",")) if part)
