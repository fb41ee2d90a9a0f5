"""Check, before anything is created, whether AWS will launch the instances that the settings ask for.

An instance type whose processor cannot run the image is an error, because no launch of it ever succeeds. Everything
else is a warning: quotas can be raised while the stack exists, and AWS adds instance types to zones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ami.aws.account import Account, Image, InstanceType, Network, Quota
from config.gpus import explain_unsupported, has_gpu
from core.errors import Misconfigured, TagfleetError

Offerings = Mapping[str, Sequence[tuple[str, str]]]
"""For each pool, its instance types and markets ("spot", "on-demand"), best first."""


def check_architectures(
    kinds: Mapping[str, InstanceType], image: Image, offerings: Offerings, host: tuple[str, Image] | None = None
) -> None:
    """Check that images fit the processors of the instance types that will run them; skip types missing from `kinds`.

    `host` is the instance type and the image of hosts. Raises Misconfigured if an image does not fit.
    """
    for pool, choices in offerings.items():
        wrong = _wrong(kinds, image, [type for type, _ in choices])
        if wrong:
            raise Misconfigured(
                f"pool {pool}: image {image.id} is made for {image.architecture}, and {_listed(kinds, wrong)}: choose "
                f"other types in aws.offerings or pools.{pool}.offerings, or give an --image for their processor"
            )
    if host and (wrong := _wrong(kinds, host[1], [host[0]])):
        raise Misconfigured(
            f"hosts: image {host[1].id} is made for {host[1].architecture}, and {_listed(kinds, wrong)}: "
            "give another --host-image"
        )


def check_gpus(image: Image, types: Sequence[str]) -> None:
    """Check that the torch in `image` has kernels for the cards of `types`. An image for CPUs leaves cards idle.

    Raises Misconfigured if it does not: each of those instances would refuse to start.
    """
    if image.runs_on != "cpu" and (why := explain_unsupported(types)):
        raise Misconfigured(f"{why}: choose other types in aws.offerings")


def capacity_warnings(
    account: Account, kinds: Mapping[str, InstanceType], network: Network, offerings: Offerings, max_workers: int
) -> Iterator[str]:
    """Yield a warning for each type that this region or a zone lacks, and for each pool with too low a quota.

    A quota is too low if it allows fewer workers than `max_workers`.
    """
    types = list(dict.fromkeys(type for choices in offerings.values() for type, _ in choices))
    for type in types:
        if type not in kinds:
            yield f"this region has no instance type {type}"
    try:
        yield from _of_zones(account, [type for type in types if type in kinds], network)
    except TagfleetError as error:
        yield f"availability zones were not checked: {error}"
    try:
        yield from _of_quotas(account, kinds, offerings, max_workers)
    except TagfleetError as error:
        yield f"quotas were not checked: {error}"


def image_warnings(image: Image, network: Network, types: Sequence[str]) -> Iterator[str]:
    """Yield a warning for each way in which `image`, `types` (of workers) and `network` do not fit together."""
    dear = [type for type in types if has_gpu(type)]
    if dear and image.runs_on == "cpu":
        yield (
            f"image {image.id} was baked for a CPU; on {', '.join(dear)} you would pay for a GPU that stays idle: "
            "bake with --gpu, or name other types in aws.offerings"
        )
    if network.without_address:
        yield (
            f"instances in {', '.join(network.without_address)} get no public address: "
            "without a NAT gateway or VPC endpoints they reach neither S3 nor SQS"
        )


def spot_refused(account: Account, markets: Sequence[str]) -> str:
    """Create the role that spot instances need, if spot is wanted. Return why AWS refused, or an empty string."""
    if "spot" not in markets:
        return ""
    try:
        account.allow_spot()
    except TagfleetError as error:
        return (
            f"{str(error).rstrip('.')}. Spot instances do not start without that role; the first use of spot creates it"
        )
    return ""


def _wrong(kinds: Mapping[str, InstanceType], image: Image, types: Sequence[str]) -> list[str]:
    return [
        type
        for type in dict.fromkeys(types)
        if type in kinds and kinds[type].architectures and image.architecture not in kinds[type].architectures
    ]


def _listed(kinds: Mapping[str, InstanceType], types: Sequence[str]) -> str:
    return ", ".join(f"{type} is {' or '.join(sorted(kinds[type].architectures))}" for type in types)


def _of_zones(account: Account, types: Sequence[str], network: Network) -> Iterator[str]:
    zones_of = account.zones_of(types)
    for type in types:
        lacking = [zone for zone in network.zones if zone not in zones_of.get(type, ())]
        if len(lacking) == len(network.zones):
            elsewhere = ", ".join(sorted(zones_of.get(type, ()))) or "no zone of this region"
            yield f"{type} is offered in {elsewhere}, where no subnet is: name one with --subnet, or another type"
        elif lacking:
            yield f"{type} is not offered in {', '.join(lacking)}: it is launched only in the other zones"


def _of_quotas(
    account: Account, kinds: Mapping[str, InstanceType], offerings: Offerings, max_workers: int
) -> Iterator[str]:
    """Yield quota warnings, one for all pools with the same offerings. An unknown quota counts as high enough."""
    known: dict[str, Quota | None] = {}
    pools_of: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for pool, choices in offerings.items():
        pools_of.setdefault(tuple(choices), []).append(pool)
    for choices, pools in pools_of.items():
        least: dict[str, tuple[Quota, int]] = {}
        for type, market in choices:
            if type not in kinds:
                continue
            if (key := f"{type}:{market}") not in known:
                known[key] = account.quota_of(type, market)
            quota = known[key]
            if quota is None:
                break
            before = least.get(quota.code)
            least[quota.code] = quota, min(kinds[type].vcpus, before[1] if before else kinds[type].vcpus)
        else:
            yield from _shortage(pools, list(least.values()), max_workers)


def _shortage(pools: Sequence[str], quotas: Sequence[tuple[Quota, int]], max_workers: int) -> Iterator[str]:
    """Yield a warning if `quotas`, each with the vCPUs of the smallest type that it covers, allow too few workers."""
    possible = sum(int(quota.vcpus // each) for quota, each in quotas)
    if not quotas or possible >= max_workers:
        return
    named = f"pool {pools[0]}" if len(pools) == 1 else f"pools {', '.join(pools)}"
    first, each = quotas[0]
    there = ", ".join(f"{quota.vcpus:g} vCPUs of '{quota.name}'" for quota, _ in quotas)
    yield (
        f"{named}: this account may run {possible} of the {max_workers} workers of controller.max_workers ({there}). "
        f"Ask for {max_workers * each} vCPUs of '{first.name}' ({first.code}) in Service Quotas, Amazon EC2"
    )
