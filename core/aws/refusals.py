"""Explains why EC2 refused a launch: no capacity, an exhausted quota, or a lasting mistake.

Codes are those of "Error codes for the Amazon EC2 API" in the EC2 API Reference. EC2 adds kinds of missing capacity
without notice (`InsufficientCapacityOnHost`, `UnfulfillableCapacity`), so they are recognised by their form, at any
HTTP status.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from botocore.exceptions import ClientError

from core.aws.errors import THROTTLED, code_of, translate_error
from core.errors import Misconfigured
from core.storage.ports import Cause

MISMATCH = "IdempotentParameterMismatch"
"""The token was used before with another request, whose instances exist."""
_SIDE = re.compile(r"^(?:Client|Server)\.")
"""The side that EC2 blames, in the reasons of an instance's state and in some answers."""
_NO_CAPACITY = re.compile(r"^Insufficient(?!.*(?:Privilege|Permission))|Capacity$")
_PLACE = frozenset(
    {
        "SpotMaxPriceTooLow",
        "ReservationCapacityExceeded",
        "Unsupported",  # this type is not offered in this zone
    }
)
_QUOTA = re.compile(r"(?:LimitExceeded|CountExceeded|QuotaExceeded)$")


def no_capacity(code: str) -> bool:
    """Return whether the code says that this zone has no capacity for this type now. Others may have some."""
    code = _SIDE.sub("", code)
    return code in _PLACE or bool(_NO_CAPACITY.search(code))


@dataclass(frozen=True, slots=True)
class Refusal:
    cause: Cause
    reason: str
    everywhere: bool = False
    """The refusal holds for the type and market in every zone."""


def of(error: ClientError, doing: str, template: str) -> Refusal | None:
    """Return the refusal; None if AWS fails or throttles, so that instances may have been launched."""
    code = code_of(error)
    if no_capacity(code):
        return Refusal(Cause.CAPACITY, f"{code}: EC2 has no capacity for this there now")
    if _QUOTA.search(code) and code not in THROTTLED:
        return Refusal(
            Cause.CAPACITY, f"{code}: the account's quota is used up; ask for more in AWS's Service Quotas", True
        )
    known = _known(code, template)
    if known:
        return Refusal(Cause.LASTING, f"cannot {doing}: {known}")
    mistake = translate_error(error, doing, "ec2")
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
