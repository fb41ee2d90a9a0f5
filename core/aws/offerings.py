"""Lists what can be launched on EC2 now: types × zones × markets in the settings' order, without those set aside."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from core.aws.clients import Clients
from core.aws.errors import translate_errors
from core.aws.prices import Prices
from core.errors import Misconfigured
from core.storage.ports import Offering

SPOT = "spot"
ON_DEMAND = "on-demand"
ASIDE_S = 180.0
"""An offering without capacity is not tried again before this."""
_ANY_ZONE = "any zone"
"""The zone's name if the settings name no subnets: those of the launch template or the account's default apply."""


class OfferingList:
    """Lists the offerings of each pool, and remembers which of them had no capacity.

    `choices` are `TYPE:MARKET` by pool; `subnets` are ids; `clock` is monotonic.
    """

    def __init__(
        self,
        clients: Clients,
        choices: Mapping[str, Sequence[str]],
        subnets: Sequence[str],
        prices: Prices,
        clock: Callable[[], float],
    ) -> None:
        self._clients = clients
        self._choices = {pool: [_parse(choice) for choice in each] for pool, each in choices.items()}
        self._subnets = list(subnets)
        self._prices = prices
        self._clock = clock
        self._zones: dict[str, str] | None = None
        self._aside: dict[tuple[str, str, str], float] = {}

    def of(self, pool: str) -> list[Offering]:
        """Return offerings, best first: for each choice its zones in the order of the subnets. Raises Unavailable."""
        self._prices.refresh(sorted({type_ for each in self._choices.values() for type_, m in each if m == SPOT}))
        found = []
        for type_, market in self._choices.get(pool, []):
            for zone in self._subnet_of():
                if self._clock() >= self._aside.get((type_, zone, market), 0.0):
                    price = self._prices.spot(type_, zone) if market == SPOT else self._prices.on_demand(type_)
                    found.append(Offering(type_, zone, market, price))
        return found

    def subnet(self, offering: Offering) -> str:
        """Return the subnet to launch in, "" if the launch template names it. Raises Unavailable, Misconfigured."""
        subnets = self._subnet_of()
        if offering.zone not in subnets:
            raise Misconfigured(f"no subnet of the setting aws.subnets is in {offering.zone}; run `tagfleet aws up`")
        return subnets[offering.zone]

    def set_aside(self, type: str, zone: str, market: str) -> None:
        """Leave an offering without capacity out for `ASIDE_S` seconds."""
        self._aside[type, zone, market] = self._clock() + ASIDE_S

    def set_all_aside(self, type: str, market: str) -> None:
        """Leave a type and market out in all zones, because an exhausted quota applies to all of them."""
        for zone in self._subnet_of():
            self.set_aside(type, zone, market)

    def _subnet_of(self) -> dict[str, str]:
        """Return the first subnet of each zone, in the settings' order."""
        if self._zones is None:
            self._zones = self._read_zones() if self._subnets else {_ANY_ZONE: ""}
        return self._zones

    def _read_zones(self) -> dict[str, str]:
        with translate_errors(f"look up the subnets {', '.join(self._subnets)} (aws.subnets)", "ec2"):
            answer = self._clients.ec2.describe_subnets(SubnetIds=self._subnets)
        zone_of = {each["SubnetId"]: each["AvailabilityZone"] for each in answer["Subnets"]}
        zones: dict[str, str] = {}
        for subnet in self._subnets:
            zones.setdefault(zone_of[subnet], subnet)
        return zones


def _parse(choice: str) -> tuple[str, str]:
    type_, _, market = choice.partition(":")
    return type_, market
