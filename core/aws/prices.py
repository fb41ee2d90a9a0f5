"""The price of an instance per hour: on-demand from a table, spot from EC2."""

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
"""Spot prices are read again after this: they move by a few per cent a day."""


def table(overrides: str = "") -> dict[str, float]:
    """Return $/h by type. `overrides` are `TYPE:PRICE`, separated by spaces, and replace entries of the table."""
    prices: dict[str, float] = {}
    for section in tomllib.loads(_TABLE.read_text()).values():
        prices |= section
    for entry in overrides.split():
        type_, _, price = entry.rpartition(":")
        prices[type_] = float(price)
    return prices


class Prices:
    """Looks up prices in $/h: by type on demand, by type and zone on the spot market. `clock` is monotonic."""

    def __init__(self, clients: Clients, on_demand: Mapping[str, float], clock: Callable[[], float]) -> None:
        self._clients = clients
        self._on_demand = on_demand
        self._clock = clock
        self._spot: dict[tuple[str, str], float] = {}
        self._read_at: float | None = None

    def on_demand(self, type: str) -> float:
        """Return $/h. Raises Misconfigured if it is unknown: a budget cannot be kept with guessed prices."""
        try:
            return self._on_demand[type]
        except KeyError:
            raise Misconfigured(
                f'no price is known for the instance type {type}: set it with aws.prices = "{type}:$/h"'
            ) from None

    def spot(self, type: str, zone: str) -> float:
        """Return the spot price that `refresh` found last, at most the on-demand price; that one if none was found."""
        return min(self._spot.get((type, zone), self.on_demand(type)), self.on_demand(type))

    def refresh(self, types: Sequence[str]) -> None:
        """Ask for the spot prices of `types` if they are old. If EC2 does not answer, the known prices stay."""
        now = self._clock()
        if not types or (self._read_at is not None and now - self._read_at < _FRESH_S):
            return
        self._read_at = now
        try:
            self._spot |= self._read_spot_prices(types)
        except Unavailable as error:
            telemetry.logger().warning(
                "spot prices cannot be read; the last known or on-demand prices are used", error=str(error)
            )

    def _read_spot_prices(self, types: Sequence[str]) -> dict[tuple[str, str], float]:
        """Read the current price in each zone: a history that starts now has one entry for each."""
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
