"""What an hour of an instance costs: a table for on-demand, EC2's own word for spot."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import config
from core import telemetry
from core.aws.clients import Clients
from core.aws.errors import translate_errors
from core.errors import Misconfigured, Unavailable

_TABLE = Path(config.__file__).with_name("ec2-prices.toml")
_FRESH_S = 600.0
"""A spot price moves by a few per cent a day."""


def table(overrides: str = "") -> dict[str, float]:
    """$/h by type. `overrides` are `TYPE:PRICE`, separated by spaces, and go before what is in the table."""
    prices: dict[str, float] = {}
    for section in tomllib.loads(_TABLE.read_text()).values():
        prices |= section
    for entry in overrides.split():
        type_, _, price = entry.rpartition(":")
        prices[type_] = float(price)
    return prices


class Prices:
    """$/h of a type in a zone. `clock` is monotonic."""

    def __init__(self, clients: Clients, on_demand: Mapping[str, float], clock: Callable[[], float]) -> None:
        self._clients = clients
        self._on_demand = on_demand
        self._clock = clock
        self._spot: dict[tuple[str, str], float] = {}
        self._read_at: float | None = None

    def on_demand(self, type: str) -> float:
        """Raises Misconfigured where it is not known: a budget cannot be kept with prices that are guessed."""
        try:
            return self._on_demand[type]
        except KeyError:
            raise Misconfigured(
                f'no price is known for the instance type {type}: say it in the setting aws.prices = "{type}:$/h"'
            ) from None

    def spot(self, type: str, zone: str) -> float:
        """The spot price as `refresh` last found it; the on-demand price, which is higher, where it found none."""
        return min(self._spot.get((type, zone), self.on_demand(type)), self.on_demand(type))

    def refresh(self, types: Sequence[str]) -> None:
        """Ask for the spot prices of `types` if they are old. Where EC2 does not say, what is known stands."""
        now = self._clock()
        if not types or (self._read_at is not None and now - self._read_at < _FRESH_S):
            return
        self._read_at = now
        try:
            self._spot |= self._asked(types)
        except Unavailable as error:
            telemetry.logger().warning("spot prices are not known, on-demand prices stand in", error=str(error))

    def _asked(self, types: Sequence[str]) -> dict[tuple[str, str], float]:
        """With the present as start, the history holds the one price of each zone that is in force."""
        found: dict[tuple[str, str], float] = {}
        with translate_errors("read the spot prices", "ec2"):
            pages = self._clients.ec2.get_paginator("describe_spot_price_history").paginate(
                InstanceTypes=list(types),  # type: ignore[arg-type]  # any of EC2's types
                ProductDescriptions=["Linux/UNIX"],
                StartTime=datetime.now(UTC),
            )
            for page in pages:
                for entry in page["SpotPriceHistory"]:
                    place = str(entry.get("InstanceType", "")), entry.get("AvailabilityZone", "")
                    found.setdefault(place, float(entry["SpotPrice"]))
        return found
