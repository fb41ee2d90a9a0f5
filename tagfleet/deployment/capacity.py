"""Whether what the settings ask for can be launched: architectures, types of the region and its zones, quotas.

A type whose processor cannot run the image is refused, as no launch of it would ever succeed. All else is a warning:
quotas are raised while the stack stands, and AWS adds types to zones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from ami.aws.account import Account, Image, InstanceType, Network, Quota
from core.errors import Misconfigured, TagfleetError

Offerings = Mapping[str, Sequence[tuple[str, str]]]
"""Types and markets of each pool, best first."""


def check_architectures(
    kinds: Mapping[str, InstanceType], image: Image, offerings: Offerings, host: tuple[str, Image] | None = None
) -> None:
    """Compare images with the types that are to run them; types that `kinds` does not have are passed over.

    `host` is the type and the image of hosts. Raises Misconfigured for those that do not fit together.
    """
    for pool, choices in offerings.items():
        wrong = _wrong(kinds, image, [type for type, _ in choices])
        if wrong:
            raise Misconfigured(
                f"pool {pool}: image {image.id} is made for {image.architecture}, and {_listed(kinds, wrong)}: name "
                f"other types in aws.offerings or pools.{pool}.offerings, or give an --image that is made for them"
            )
    if host and (wrong := _wrong(kinds, host[1], [host[0]])):
        raise Misconfigured(
            f"hosts: image {host[1].id} is made for {host[1].architecture}, and {_listed(kinds, wrong)}: "
            "give another --host-image"
        )


def warnings(
    account: Account, kinds: Mapping[str, InstanceType], network: Network, offerings: Offerings, max_workers: int
) -> Iterator[str]:
    """Yield a sentence for each type that is not offered here, and each pool that quotas keep below `max_workers`."""
    types = list(dict.fromkeys(type for choices in offerings.values() for type, _ in choices))
    for type in types:
        if type not in kinds:
            yield f"there is no instance type {type} in this region"
    try:
        yield from _of_zones(account, [type for type in types if type in kinds], network)
    except TagfleetError as error:
        yield f"zones were not looked at: {error}"
    try:
        yield from _of_quotas(account, kinds, offerings, max_workers)
    except TagfleetError as error:
        yield f"limits were not looked at: {error}"


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
            yield f"{type} is offered in {elsewhere}, and no subnet is there: name one with --subnet, or another type"
        elif lacking:
            yield f"{type} is not offered in {', '.join(lacking)}: it is launched in the other zones alone"


def _of_quotas(
    account: Account, kinds: Mapping[str, InstanceType], offerings: Offerings, max_workers: int
) -> Iterator[str]:
    """Pools of the same offerings share a sentence. Offerings whose quota is not known are taken for enough."""
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
    """`quotas` with the vCPUs of the smallest type that each is for."""
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
