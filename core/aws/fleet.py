"""A fleet of EC2 instances. Their tags hold all of its state, so any host can manage them."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from config.settings import Settings
from core.aws import refusals
from core.aws.clients import Clients
from core.aws.errors import code_of, translate_errors
from core.aws.offerings import ON_DEMAND, SPOT, OfferingList
from core.aws.prices import Prices, table
from core.errors import Misconfigured
from core.storage.ports import Cause, Instance, InstanceState, Launch, Offering

if TYPE_CHECKING:
    from mypy_boto3_ec2.type_defs import FilterTypeDef, InstanceTypeDef, RunInstancesRequestTypeDef

DEPLOYMENT_TAG = "tagfleet:deployment"
POOL_TAG = "tagfleet:pool"
TOKEN_TAG = "tagfleet:token"  # noqa: S105  # the launch intent's
PRICE_TAG = "tagfleet:price"

_OF_VOLUMES = ("Name", DEPLOYMENT_TAG, POOL_TAG)

_STATES = {
    "pending": InstanceState.PENDING,
    "running": InstanceState.RUNNING,
    "stopping": InstanceState.STOPPED,
    "stopped": InstanceState.STOPPED,
    "shutting-down": InstanceState.STOPPING,
    "terminated": InstanceState.GONE,
}
_TAKEN_AWAY = ("Server.SpotInstanceTermination", "Server.SpotInstanceShutdown")
_PROTECTED = "OperationNotPermitted"
_ID = re.compile(r"\bi-[0-9a-f]{8,17}\b")
_PAGE = 1000
"""Instances per answer, and ids per call: EC2's limit for both."""
_MISSED_S = 300.0
"""EC2 lists terminated instances for an hour. A list that omits an instance earlier is merely incomplete."""


def template_name(deployment: str, pool: str) -> str:
    """Return the name of a pool's launch template. CloudFormation adds versions; launches use the latest."""
    return f"{deployment}-{pool}"


class Ec2Fleet:
    """Launches and terminates instances. Several of these may manage the same deployment.

    A token is EC2's ClientToken: for a day after the first call's instances have ended, a replay returns them. EC2's
    lists are only eventually consistent: `instances` may omit an instance that was just launched, and keeps one that
    disappears from the list for a while. Each object learns about missing capacity by itself. `page` is the most
    instances per call; `clock` is monotonic.
    """

    def __init__(
        self,
        clients: Clients,
        deployment: str,
        offerings: OfferingList,
        *,
        page: int = _PAGE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clients = clients
        self._deployment = deployment
        self._offerings = offerings
        self._page = page
        self._clock = clock
        self._seen: dict[str, tuple[Instance, float]] = {}
        self._unlisted: set[str] = set()
        """Launched by this object, and not listed yet."""

    def instances(self) -> list[Instance]:
        found = {one["InstanceId"]: one for one in self._describe(DEPLOYMENT_TAG, self._deployment)}
        now = self._clock()
        listed = {id_: _instance(one) for id_, one in found.items()}
        for id_, instance in listed.items():
            before = self._seen.get(id_)
            lived = before[0].state is not InstanceState.GONE if before else id_ in self._unlisted
            if instance.state is InstanceState.GONE and lived:
                self._learn_from_end(instance, found[id_])
        self._unlisted -= listed.keys()
        missed = {
            id_: (instance, at)
            for id_, (instance, at) in self._seen.items()
            if id_ not in listed and instance.state is not InstanceState.GONE and now - at < _MISSED_S
        }
        self._seen = {id_: (instance, now) for id_, instance in listed.items()} | missed
        return sorted((one for one, _ in self._seen.values()), key=lambda one: (one.launched_at, one.id))

    def offerings(self, pool: str) -> list[Offering]:
        return self._offerings.of(pool)

    def launch(self, pool: str, count: int, token: str, offering: Offering) -> Launch:
        if count < 1:
            return Launch()
        template = template_name(self._deployment, pool)
        doing = f"launch {offering}"
        try:
            subnet = self._offerings.subnet(offering)
        except Misconfigured as error:
            return _make_launch([], count, f"cannot {doing}: {error}", Cause.LASTING)
        with translate_errors(doing, "ec2"):
            try:
                answer = self._clients.ec2.run_instances(**self._request(pool, count, token, offering, subnet))
            except ClientError as error:
                if code_of(error) == refusals.MISMATCH:
                    launched = [_instance(one) for one in self._describe(TOKEN_TAG, token)]
                    return _make_launch(launched, count, f"{doing}: an earlier launch left no more")
                refusal = refusals.of(error, doing, template)
                if refusal is None:
                    raise
                return self._handle_refusal(refusal, count, offering)
        launched = [_instance(one) for one in answer["Instances"]]
        self._unlisted.update(one.id for one in launched)
        if len(launched) < count:
            self._offerings.set_aside(offering.type, offering.zone, offering.market)
        return _make_launch(launched, count, f"EC2 had only {len(launched)} of {count}", Cause.CAPACITY)

    def set_aside(self, ids: Sequence[str]) -> None:
        for instance, _ in (self._seen[id_] for id_ in ids if id_ in self._seen):
            self._offerings.set_aside(instance.type, instance.zone, instance.market)

    def terminate(self, ids: Sequence[str]) -> None:
        wanted = [id_ for id_ in dict.fromkeys(ids) if _ID.fullmatch(id_)]
        for start in range(0, len(wanted), self._page):
            self._terminate(wanted[start : start + self._page])

    def _request(
        self, pool: str, count: int, token: str, offering: Offering, subnet: str
    ) -> RunInstancesRequestTypeDef:
        """Build the request from the arguments alone: EC2 refuses a token that comes with another request."""
        template = template_name(self._deployment, pool)
        tags = {
            "Name": template,
            DEPLOYMENT_TAG: self._deployment,
            POOL_TAG: pool,
            TOKEN_TAG: token,
            PRICE_TAG: repr(offering.price),
        }
        request: RunInstancesRequestTypeDef = {
            "LaunchTemplate": {"LaunchTemplateName": template, "Version": "$Latest"},
            "InstanceType": offering.type,  # type: ignore[typeddict-item]  # any of EC2's types
            "MinCount": 1,
            "MaxCount": count,
            "ClientToken": token,
            "InstanceInitiatedShutdownBehavior": "terminate",
            "MetadataOptions": {
                "HttpTokens": "required",
                "HttpEndpoint": "enabled",
                "HttpPutResponseHopLimit": 1,
                "InstanceMetadataTags": "enabled",  # by these tags a worker knows that we launched it
            },
            "TagSpecifications": [
                {"ResourceType": "instance", "Tags": [{"Key": key, "Value": value} for key, value in tags.items()]},
                {"ResourceType": "volume", "Tags": [{"Key": key, "Value": tags[key]} for key in _OF_VOLUMES]},
            ],
        }
        if subnet:
            request["SubnetId"] = subnet
        if offering.market == SPOT:
            once = {"SpotInstanceType": "one-time", "InstanceInterruptionBehavior": "terminate"}
            request["InstanceMarketOptions"] = {"MarketType": "spot", "SpotOptions": once}  # type: ignore[typeddict-item]
        return request

    def _handle_refusal(self, refusal: refusals.Refusal, count: int, offering: Offering) -> Launch:
        if refusal.everywhere:
            self._offerings.set_all_aside(offering.type, offering.market)
        elif refusal.cause is Cause.CAPACITY:
            self._offerings.set_aside(offering.type, offering.zone, offering.market)
        return _make_launch([], count, refusal.reason, refusal.cause)

    def _describe(self, tag: str, value: str) -> list[InstanceTypeDef]:
        """Return the deployment's instances with this tag that carry a launch's token.

        Hosts of the stack may have the deployment's tag but no token: we must not end them.
        """
        wanted = {DEPLOYMENT_TAG: self._deployment, tag: value}
        filters: list[FilterTypeDef] = [{"Name": f"tag:{name}", "Values": [text]} for name, text in wanted.items()]
        filters.append({"Name": "tag-key", "Values": [TOKEN_TAG]})
        with translate_errors(f"list the instances of the deployment {self._deployment}", "ec2"):
            pages = self._clients.ec2.get_paginator("describe_instances").paginate(
                Filters=filters,
                PaginationConfig={"PageSize": self._page},
            )
            return [one for page in pages for group in page["Reservations"] for one in group["Instances"]]

    def _terminate(self, ids: list[str]) -> None:
        """Terminate instances. If one unknown or protected id makes EC2 refuse all, try again without it."""
        protected: list[str] = []
        with translate_errors(f"end {len(ids)} instances", "ec2"):
            while ids:
                try:
                    self._clients.ec2.terminate_instances(InstanceIds=ids)
                except ClientError as error:
                    named = set(_ID.findall(str(error))) & set(ids)
                    if not named or not code_of(error).startswith(("InvalidInstanceID", _PROTECTED)):
                        raise
                    protected += sorted(named) if code_of(error) == _PROTECTED else ()
                    ids = [id_ for id_ in ids if id_ not in named]
                else:
                    break
        if protected:
            raise Misconfigured(
                f"cannot end {', '.join(protected)}: protected from termination; switch disableApiTermination off"
            )

    def _learn_from_end(self, instance: Instance, described: InstanceTypeDef) -> None:
        """Set an offering aside if EC2 took its instance back: there is no spare capacity."""
        code = described.get("StateReason", {}).get("Code", "")
        if code in _TAKEN_AWAY or refusals.no_capacity(code):
            self._offerings.set_aside(instance.type, instance.zone, instance.market)


def _make_launch(launched: list[Instance], count: int, reason: str, cause: Cause = Cause.FAILURE) -> Launch:
    short = max(0, count - len(launched))
    return Launch(launched, short, reason, cause) if short else Launch(launched)


def _instance(described: InstanceTypeDef) -> Instance:
    tags = {tag["Key"]: tag["Value"] for tag in described.get("Tags", [])}
    return Instance(
        id=described["InstanceId"],
        pool=tags.get(POOL_TAG, ""),
        state=_STATES[described["State"]["Name"]],
        launched_at=described["LaunchTime"].timestamp(),
        token=tags.get(TOKEN_TAG, ""),
        market=SPOT if described.get("InstanceLifecycle") == "spot" else ON_DEMAND,
        type=str(described["InstanceType"]),
        zone=described.get("Placement", {}).get("AvailabilityZone", ""),
        price=_price_of(tags),
        ended=described.get("StateReason", {}).get("Message", "").strip(),
    )


def _price_of(tags: dict[str, str]) -> float:
    """Return the price in the tag, 0 if somebody removed or changed it."""
    try:
        return float(tags.get(PRICE_TAG, ""))
    except ValueError:
        return 0.0


def open_fleet(clients: Clients, settings: Settings) -> Ec2Fleet:
    """Return the fleet that the settings describe. Raises Misconfigured if they do not fit together."""
    aws, clock = settings.aws, time.monotonic
    prices = Prices(clients, table(aws.prices), clock)
    choices = {name: (pool.offerings or aws.offerings).split() for name, pool in settings.pools.items()}
    for choice in {choice for each in choices.values() for choice in each}:
        prices.on_demand(choice.partition(":")[0])
    return Ec2Fleet(
        clients, aws.deployment, OfferingList(clients, choices, aws.subnets.split(), prices, clock), clock=clock
    )
