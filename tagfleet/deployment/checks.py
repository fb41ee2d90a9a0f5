"""What an account would not let a deployment do, told before anything is made: warnings, none of which stops it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ami.aws.account import Account, Image, Network
from core.errors import TagfleetError

_WITH_GPU = ("g", "p")


def warnings(image: Image, network: Network, types: Sequence[str]) -> Iterator[str]:
    """Sentences for a person. `types` are what workers may be launched as, from `image`."""
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


def spot_refused(account: Account, markets: Sequence[str]) -> str:
    """Makes the role that spot instances need, where they are wanted; why that was refused, else nothing."""
    if "spot" not in markets:
        return ""
    try:
        account.allow_spot()
    except TagfleetError as error:
        return f"{str(error).rstrip('.')}. Without that role no spot instance starts; the first use of spot makes it"
    return ""
