"""Correct moto's EC2 where it differs from AWS's documentation, and inject the faults that tests ask for.

`POST /tagfleet/ec2` takes an object with `deployment` and any fields of `Faults`, which hold from then on for the
instances tagged with the deployment; or with `interrupt`, a list of ids of spot instances that EC2 takes back.
"""

from __future__ import annotations

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from moto.core.responses import ActionResult
from moto.ec2.exceptions import EC2ClientError
from moto.ec2.models import ec2_backends
from moto.ec2.models.instances import StateReason
from moto.ec2.responses.instances import InstanceResponse

_LISTED_S = 3600.0
_STATE = "RunInstances.Reservation.Instances.Instance.State"
_ahead_s = 0.0


@dataclass
class Faults:
    """What goes wrong for the instances of one deployment."""

    launch_error: str = ""
    """Refuse every launch with this code."""
    describe_error: str = ""
    """Refuse every list with this code, as a server error."""
    lose_answers: bool = False
    """Launch, but answer with a server error."""
    sold_out: list[str] = field(default_factory=list)
    """`TYPE:ZONE:MARKET=CODE` refuses those launches with the code. `*` matches any; `CODE@500` is a server error."""
    left: int = 1_000_000
    """Capacity in instances. A launch whose MinCount exceeds it is refused."""
    hidden_s: float = 0.0
    """Seconds until a new instance is listed: the API is eventually consistent."""
    shutdown_s: float = 0.0
    """Seconds from the termination until an instance is terminated."""


_run = InstanceResponse.run_instances
_describe = InstanceResponse.describe_instances
_end = InstanceResponse.terminate_instances
_faults: dict[str, Faults] = defaultdict(Faults)
_by_token: dict[str, tuple[str, Any]] = {}
_born: dict[str, float] = {}
_ended: dict[str, float] = {}


def pass_time(seconds: float) -> None:
    """Set the clock of every instance ahead."""
    global _ahead_s
    _ahead_s += seconds


def control(body: bytes) -> None:
    """Handle `POST /tagfleet/ec2`."""
    wish = json.loads(body)
    for id_ in wish.pop("interrupt", []):
        _interrupt(id_)
    faults = _faults[wish.pop("deployment", "")]
    for name, value in wish.items():
        setattr(faults, name, value)


def apply() -> None:
    """Replace moto's functions by those of this module."""
    # "The only information that might vary in the response is the state of the instance."
    InstanceResponse.RESPONSE_KEY_PATH_TO_TRANSFORMER[_STATE] = lambda state: (
        {"Code": 0, "Name": "pending"} if state.name == "running" else state
    )
    InstanceResponse.run_instances = _run_instances
    InstanceResponse.describe_instances = _describe_instances
    InstanceResponse.terminate_instances = _terminate_instances


def _run_instances(self: InstanceResponse) -> Any:
    """ "If you repeat the request with the same client token, the same response is returned for each repeated
    request. If you … change another request parameter, Amazon EC2 returns an IdempotentParameterMismatch error."
    "Amazon EC2 launches the largest possible number of instances above the specified minimum count."
    """
    token, said = self._get_param("ClientToken"), json.dumps(self.params, sort_keys=True, default=str)
    faults = _faults[_tags(self).get("tagfleet:deployment", "")]
    if token in _by_token:
        before, reservation = _by_token[token]
        if before != said:
            raise EC2ClientError("IdempotentParameterMismatch", "Arguments on this idempotent request differ.")
        _settle_all()
        return ActionResult(reservation)
    if faults.launch_error:
        raise EC2ClientError(faults.launch_error, "You are not authorized, or what you named does not exist.")
    count = min(int(self._get_param("MaxCount", "1")), faults.left)
    enough = count >= int(self._get_param("MinCount", "1"))
    code = _sold_out(self, faults) or ("" if enough else "InsufficientInstanceCapacity")
    if code == "InsufficientInstanceCapacity" or code.endswith("@500"):
        code = code.removesuffix("@500")
        return _server_error(code, "We currently do not have sufficient capacity in the zone you requested.")
    if code:
        raise EC2ClientError(code, "You have requested more than your current limit allows.")
    self.params["MinCount"] = count
    result = _run(self)
    faults.left -= count
    for instance in result.result.instances:
        _born[instance.id] = _now()
    if token:
        _by_token[token] = said, result.result
    return _server_error("InternalError", "An internal error has occurred.") if faults.lose_answers else result


def _describe_instances(self: InstanceResponse) -> Any:
    """ "Recently terminated instances might appear in the returned results. This interval is usually less than one
    hour." "The API follows an eventual consistency model."
    """
    filters = self._filters_from_querystring()
    _settle_all()
    faults = _faults[next(iter(filters.get("tag:tagfleet:deployment", [""])))]
    if faults.describe_error:
        return _server_error(faults.describe_error, "The server cannot answer.")
    result = _describe(self)
    kept = []
    for reservation in result.result["Reservations"]:
        shown = [one for one in reservation.instances if _is_listed(one, faults)]
        if shown:
            kept.append(_Part(reservation, shown))
    result.result["Reservations"] = kept
    return result


def _terminate_instances(self: InstanceResponse) -> Any:
    result = _end(self)
    for one in result.result["TerminatingInstances"]:
        _ended.setdefault(one["InstanceId"], _now())
    return result


class _Part:
    """A reservation that shows only some of its instances."""

    def __init__(self, whole: Any, instances: list[Any]) -> None:
        self._whole, self.instances = whole, instances

    def __getattr__(self, name: str) -> Any:
        return getattr(self._whole, name)


def _now() -> float:
    return time.time() + _ahead_s


def _tags(response: InstanceResponse) -> dict[str, str]:
    return response._parse_tag_specification().get("instance", {})


def _is_listed(instance: Any, faults: Faults) -> bool:
    if instance.id in _ended and _now() - _ended[instance.id] > _LISTED_S:
        return False
    return _now() - _born.get(instance.id, 0.0) >= faults.hidden_s


def _settle_all() -> None:
    """Let terminated instances shut down for a while."""
    for instance in _all():
        if (at := _ended.get(instance.id)) is not None:
            going = _now() - at < _faults[_tag(instance, "tagfleet:deployment")].shutdown_s
            instance._state.name, instance._state.code = ("shutting-down", 32) if going else ("terminated", 48)


def _sold_out(response: InstanceResponse, faults: Faults) -> str:
    backend = response.ec2_backend
    subnet = response._get_param("SubnetId")
    zone = backend.get_subnet(subnet).availability_zone if subnet else ""
    market = response._get_param("InstanceMarketOptions.MarketType", "") or "on-demand"
    asked = response._get_param("InstanceType", ""), zone, market
    for entry in faults.sold_out:
        what, _, code = entry.partition("=")
        if all(want in ("*", had) for want, had in zip(what.split(":"), asked, strict=True)):
            return code
    return ""


def _server_error(code: str, message: str) -> Any:
    body = (
        f"<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>"
        "<RequestID>0</RequestID></Response>"
    )
    return body, {"status": 500}


def _interrupt(id_: str) -> None:
    """ "Server.SpotInstanceTermination: A Spot Instance was terminated due to an increase in the Spot price." """
    instance = _found(id_)
    instance.terminate()
    instance.state_reason = StateReason("Server.SpotInstanceTermination: no capacity", "Server.SpotInstanceTermination")
    _ended.setdefault(id_, _now())


def _found(id_: str) -> Any:
    return next(instance for instance in _all() if instance.id == id_)


def _all() -> Iterator[Any]:
    for account in ec2_backends.values():
        for backend in account.values():
            for reservation in backend.all_reservations():
                yield from reservation.instances


def _tag(instance: Any, key: str) -> str:
    return next((tag["value"] for tag in instance.get_tags() if tag["key"] == key), "")
