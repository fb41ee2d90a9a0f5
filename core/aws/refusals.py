"""What EC2 says when it launches nothing, or less than was asked: whether another offering helps, or a person."""

from __future__ import annotations

from dataclasses import dataclass

from botocore.exceptions import ClientError

from core.aws.errors import code_of, translated
from core.errors import Misconfigured
from core.ports import Cause

MISMATCH = "IdempotentParameterMismatch"
"""The token was used before, with another request: what that one launched is there."""
PLACE = frozenset(
    {
        "InsufficientInstanceCapacity",
        "InsufficientHostCapacity",
        "InsufficientReservedInstanceCapacity",
        "InsufficientFreeAddressesInSubnet",
        "SpotMaxPriceTooLow",
        "Unsupported",  # this type is not offered in this zone
    }
)
QUOTA = frozenset(
    {"MaxSpotInstanceCountExceeded", "VcpuLimitExceeded", "InstanceLimitExceeded", "PrivateIpAddressLimitExceeded"}
)


@dataclass(frozen=True, slots=True)
class Refusal:
    cause: Cause
    reason: str
    everywhere: bool = False
    """It holds for the type and market in every zone."""


def of(error: ClientError, doing: str, template: str) -> Refusal | None:
    """None where it is not certain that nothing was launched: AWS has trouble, or wants fewer requests."""
    code = code_of(error)
    if code in PLACE:
        return Refusal(Cause.CAPACITY, f"{code}: EC2 has none of these left there now")
    if code in QUOTA:
        return Refusal(
            Cause.CAPACITY, f"{code}: the account's quota is used up; ask for more in AWS's Service Quotas", True
        )
    known = _known(code, template)
    if known:
        return Refusal(Cause.LASTING, f"cannot {doing}: {known}")
    mistake = translated(error, doing, "ec2")
    return Refusal(Cause.LASTING, str(mistake)) if isinstance(mistake, Misconfigured) else None


def _known(code: str, template: str) -> str:
    if code.startswith("InvalidLaunchTemplate"):
        return f"there is no launch template {template} in this region; run `tagfleet aws up`"
    if code.startswith("InvalidAMI"):
        return (
            f"the image that the launch template {template} names is gone; bake one (`tagfleet ami bake`), then run "
            "`tagfleet aws up`"
        )
    if code.startswith(("InvalidSubnet", "InvalidGroup", "InvalidSecurityGroup")):
        return f"{code}: the network of the launch template {template} or of aws.subnets is gone; run `tagfleet aws up`"
    return ""
