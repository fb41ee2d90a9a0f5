"""What an account would not let a deployment do, told before anything is made: warnings, none of which stops it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from core.aws.account import Account, Image, Network
from core.errors import TagfleetError

_WITH_GPU = ("g", "p")


def warnings(
    account: Account, image: Image, network: Network, types: Sequence[str], markets: Sequence[str]
) -> Iterator[str]:
    """Sentences for a person. `types` and `markets` are what workers may be launched as, from `image`."""
    dear = [type for type in types if type.startswith(_WITH_GPU)]
    if dear and image.runs_on == "cpu":
        yield (
            f"image {image.id} was baked for a CPU, and {', '.join(dear)} would be paid for a GPU that it leaves idle: "
            "bake with --gpu, or name other types in aws.offerings"
        )
    if network.without_address:
        yield (
            f"instances in {', '.join(network.without_address)} get no public address: "
            "without a NAT gateway or VPC endpoints they reach neither S3 nor SQS"
        )
    yield from _of_limits(account, types, markets)


def spot_refused(account: Account, markets: Sequence[str]) -> str:
    """Makes the role that spot instances need, where they are wanted; why that was refused, else nothing."""
    if "spot" not in markets:
        return ""
    try:
        account.allow_spot()
    except TagfleetError as error:
        return f"{str(error).rstrip('.')}. Without that role no spot instance starts; the first use of spot makes it"
    return ""


def _of_limits(account: Account, types: Sequence[str], markets: Sequence[str]) -> Iterator[str]:
    try:
        vcpus = account.vcpus(types)
        for type in types:
            if type not in vcpus:
                yield f"there is no instance type {type} in this region"
                continue
            for market in markets:
                limit = account.quota(type, market)
                if limit is not None and limit < vcpus[type]:
                    yield (
                        f"{type} has {vcpus[type]} vCPUs and this account may run {limit:g} of its family {market}: "
                        "ask for more in Service Quotas, Amazon EC2"
                    )
    except TagfleetError as error:
        yield f"limits were not looked at: {error}"
