"""Turn the options of `tagfleet aws up` into the shape and the parameters of the stack's template. No I/O.

An option that is not given keeps the stack's current value, or gets the template's default.
"""

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
"""The template's default."""
_HOST_TYPES = {"x86_64": "t3.small", "arm64": "t4g.small"}
"""Default type of hosts, by the architecture of their image."""
_OF_HOSTS = {
    "HostSubnets": "--host-subnet",
    "EntranceSubnets": "--entrance-subnet",
    "DatabaseSubnets": "--database-subnet",
}
"""Template parameters with subnets other than the workers', and their command-line options."""
_SCHEMES = {"public": "internet-facing", "internal": "internal"}
_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_HOST_NAME = re.compile(r"([A-Za-z0-9]([A-Za-z0-9-]*[A-Za-z0-9])?\.)+[A-Za-z0-9-]+")
_KEY = re.compile(r"arn:[a-z-]+:kms:[a-z0-9-]+:\d{12}:key/[A-Za-z0-9-]+")
_CERTIFICATE = re.compile(r"arn:[a-z-]+:acm:[a-z0-9-]+:\d+:certificate/\S+")


@dataclass(frozen=True, slots=True)
class StackOptions:
    """The options of `tagfleet aws up`. None or empty means the stack's current value, or else the default."""

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
    """ARNs of KMS keys that encrypt images in `sources`, in addition to the keys that `up` finds itself."""
    kms_key: str | None = None
    """ARN of a KMS key for the deployment's own buckets."""
    host_subnets: tuple[str, ...] = ()
    entrance_subnets: tuple[str, ...] = ()
    database_subnets: tuple[str, ...] = ()
    entrance: str | None = None
    """`public` or `internal`."""


def other_subnets(options: StackOptions, present: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return, by parameter, the subnets of hosts, load balancer and database that differ from the workers' subnets.

    Subnets that an option once named stay. Subnets that equalled the workers' follow the workers'.
    """
    given = {
        "HostSubnets": options.host_subnets,
        "EntranceSubnets": options.entrance_subnets,
        "DatabaseSubnets": options.database_subnets,
    }
    kept = {name: present.get(name, "") for name in given if present.get(name) != present.get("Subnets")}
    found = {name: subnets or _listed(kept.get(name, "")) for name, subnets in given.items()}
    return {name: subnets for name, subnets in found.items() if subnets}


def template_shape(settings: Settings, parameters: Mapping[str, str]) -> TemplateOptions:
    """Return the shape of the template for these parameters."""
    return TemplateOptions(
        pools=tuple(settings.pools),
        namespace=NAMESPACE,
        visibility_timeout_s=round(settings.queue.visibility_timeout_s),
        max_receives=settings.queue.max_receives,
        subnets=_listed(parameters["Subnets"]),
        sources=_listed(parameters.get("Sources", "")),
    )


def parameters(
    options: StackOptions,
    present: Mapping[str, str],
    image: Image,
    host_image: Image | None,
    network: Network,
    settings: Settings,
    others: Mapping[str, Network] | None = None,
) -> dict[str, str]:
    """Return the template's parameters. Raises Misconfigured for invalid options, and if hosts lack what they need.

    `network` is the workers' network. `others` has, by parameter, the networks of hosts, load balancer and database
    that differ from it.
    """
    check(options)
    networks = {name: (others or {}).get(name, network) for name in _OF_HOSTS}
    chosen = {key: value for key, value in present.items() if value}
    chosen |= _given(options)
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
    hosts, had_hosts = chosen.get("Hosts", "none"), present.get("Hosts", "none") != "none"
    chosen["Protected"] = "no" if hosts != "none" and not had_hosts else "yes"
    if host_image is None:
        # A placeholder: CloudFormation checks that the image exists, and the last hosts' image may be gone.
        chosen["HostImage"] = image.id
    else:
        chosen |= _host_parameters(host_image, chosen.get("HostType"))
        if host_image.silent and hosts != "none" and had_hosts:
            raise Misconfigured(
                f"hosts: image {host_image.id} was baked by an earlier version whose hosts do not report when they are "
                "ready, so the update would wait in vain; "
                "bake a new one (`tagfleet ami bake --role host`) and give --host-image"
            )
    _check_hosts(hosts, chosen, host_image, network, networks)
    domain = chosen.get("Domain")
    chosen["Origins"] = f"https://{domain}" if hosts == "two" and domain else _OWN_PAGE
    return chosen


def _host_parameters(image: Image, type: str | None) -> dict[str, str]:
    """Return the parameters that depend on the hosts' image. A default host type follows the image's architecture."""
    found = {"HostImage": image.id, "HostRootDevice": image.root_device}
    if type is None or type in _HOST_TYPES.values():
        found["HostType"] = _HOST_TYPES.get(image.architecture, _HOST_TYPES["x86_64"])
    return found


def _given(options: StackOptions) -> dict[str, str]:
    """Return the parameters for which an option was given."""
    said = {
        "Hosts": options.hosts,
        "Certificate": options.certificate,
        "Domain": options.domain,
        "Clients": options.clients,
        "AlarmEmail": options.email,
        "EntranceScheme": _SCHEMES[options.entrance] if options.entrance else None,
        "UploadDays": None if options.upload_days is None else str(options.upload_days),
        "Sources": ",".join(options.sources) if options.sources else None,
        "SourceKeys": ",".join(options.source_keys) if options.source_keys else None,
        "BucketKey": options.kms_key,
    }
    return {name: value for name, value in said.items() if value is not None}


def check(options: StackOptions) -> None:
    """Check the options' syntax. Raises Misconfigured.

    AWS would report most mistakes only minutes later, and would accept a bucket name that belongs to nobody.
    """
    for source in filter(None, options.sources):
        if address := re.match("s3://([^/]+)", source):
            raise Misconfigured(
                f"--source {source}: give only the bucket's name, {address[1]}; the whole bucket becomes readable"
            )
        if not _BUCKET.fullmatch(source):
            raise Misconfigured(f"--source {source}: this is not a valid bucket name")
    for flag, key in [*(("--source-key", each) for each in options.source_keys), ("--kms-key", options.kms_key)]:
        if key and not _KEY.fullmatch(key):
            raise Misconfigured(
                f"{flag} {key}: give the ARN of a KMS key, such as arn:aws:kms:eu-central-1:123456789012:key/…"
            )
    if options.domain and not _HOST_NAME.fullmatch(options.domain):
        raise Misconfigured(f"--domain {options.domain}: give only a name, such as tags.example.org")
    if options.certificate and not _CERTIFICATE.fullmatch(options.certificate):
        raise Misconfigured(f"--certificate {options.certificate}: give the ARN of a certificate in ACM")
    if options.clients and not _is_network(options.clients):
        raise Misconfigured(
            f"--clients {options.clients}: give addresses such as 203.0.113.0/24, or 203.0.113.7/32 for one"
        )
    if options.email and not re.fullmatch(r"[^@\s]+@[^@\s]+", options.email):
        raise Misconfigured(f"--email {options.email}: give an e-mail address")


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
        raise Misconfigured(f"--hosts {hosts}: hosts need their own image; bake it and give --host-image")
    for name, network in networks.items():
        if network.vpc != workers.vpc:
            raise Misconfigured(
                f"{_OF_HOSTS[name]}: {', '.join(network.subnets)} are in {network.vpc}, "
                f"but the workers' subnets are in {workers.vpc}; name subnets of one VPC"
            )
    database = networks["DatabaseSubnets"]
    if len(database.zones) < 2:
        raise Misconfigured(
            f"--hosts {hosts}: the catalogue's database needs subnets in two zones, and these are only in "
            f"{database.zones[0]}: {', '.join(database.subnets)}; name more with --subnet or --database-subnet"
        )
    if hosts == "two":
        _check_entrance(chosen, networks["EntranceSubnets"], networks["HostSubnets"])


def _check_entrance(chosen: Mapping[str, str], entrance: Network, hosts: Network) -> None:
    if len(entrance.zones) < len(entrance.subnets):
        raise Misconfigured(
            f"--hosts two: a load balancer takes one subnet in each zone, and these are in "
            f"{', '.join(entrance.zones)}: {', '.join(entrance.subnets)}; "
            "name one per zone with --subnet or --entrance-subnet"
        )
    if len(entrance.zones) < 2:
        raise Misconfigured(
            f"--hosts two: a load balancer needs subnets in two zones, and these are only in "
            f"{entrance.zones[0]}: {', '.join(entrance.subnets)}; name more with --entrance-subnet"
        )
    if apart := [zone for zone in hosts.zones if zone not in entrance.zones]:
        raise Misconfigured(
            f"--hosts two: hosts in {', '.join(apart)} would get no requests: the load balancer has no subnet there; "
            "name one with --entrance-subnet, or move the hosts with --host-subnet"
        )
    if not (chosen.get("Certificate") and chosen.get("Domain")):
        raise Misconfigured(
            "--hosts two: the load balancer uses TLS: give --domain, and with --certificate the ARN of a certificate "
            "for it in ACM of this region"
        )


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part for part in (piece.strip() for piece in text.split(",")) if part)
