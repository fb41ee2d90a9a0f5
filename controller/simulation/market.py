"""The simulated cloud's offerings, their prices, and how much of a launch it grants."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from controller.simulation.scenario import Weather
from controller.simulation.timeline import Timeline
from core.errors import Unavailable
from core.storage.ports import Cause, Instance, Offering

_NO_CAPACITY_S = 300.0
"""How long an offering stays without capacity."""
_SET_ASIDE_S = 180.0
"""How long an offering without capacity is not offered."""
_ZONES = ("a", "b", "c")


class Grant(NamedTuple):
    """How many of the instances a launch gets, and why not all."""

    granted: int
    reason: str = ""
    cause: Cause = Cause.FAILURE


@dataclass(slots=True)
class Market:
    """`menu` lists the offerings, best first. The other public fields are faults for a test to set."""

    timeline: Timeline
    chance: random.Random
    menu: list[Offering]
    sold_out: set[Offering] = field(default_factory=set)
    """Offerings without capacity, until they are taken out again."""
    silent: set[Offering] = field(default_factory=set)
    """Offerings whose launches get no answer and launch nothing."""
    refusal: str = ""
    """Why the cloud refuses every launch; empty where it does not."""
    room: int | None = None
    """Most instances at one time; None for no limit."""
    _dry_until: dict[Offering, float] = field(default_factory=dict)
    _aside_until: dict[Offering, float] = field(default_factory=dict)

    @classmethod
    def on_demand(cls, timeline: Timeline, chance: random.Random, price: float) -> Market:
        """One type at one price in three zones."""
        return cls(timeline, chance, [Offering("simulated", zone, "on-demand", price) for zone in _ZONES])

    def offerings(self) -> list[Offering]:
        """Return the offerings that can be launched now, best first."""
        return [one for one in self.menu if not self.is_aside(one)]

    def is_aside(self, offering: Offering) -> bool:
        """Whether it is left out of the offerings for a while."""
        return self._aside_until.get(offering, 0.0) > self.timeline.now

    def set_aside(self, instances: Sequence[Instance]) -> None:
        """Leave out for a while what these instances were launched by."""
        for instance in instances:
            for offering in self.menu:
                if (offering.type, offering.zone, offering.market) == (instance.type, instance.zone, instance.market):
                    self._aside_until[offering] = self.timeline.now + _SET_ASIDE_S

    def check_answers(self, offering: Offering) -> None:
        """Raises Unavailable where the offering is silent."""
        if offering in self.silent:
            raise Unavailable(f"cannot launch {offering}: AWS has a problem (InternalError)")

    def grant(self, count: int, offering: Offering, present: int, weather: Weather) -> Grant:
        """Return how many of `count` instances a launch gets while `present` instances exist."""
        if self.refusal:
            return Grant(0, self.refusal, Cause.LASTING)
        granted = 0 if offering in self.sold_out else self._by_chance(count, offering, weather)
        if granted < count:
            self._aside_until[offering] = self.timeline.now + _SET_ASIDE_S
            return Grant(granted, f"no capacity for {offering}", Cause.CAPACITY)
        if self.room is not None and present + count > self.room:
            return Grant(max(0, self.room - present), "no capacity", Cause.FAILURE)
        return Grant(count)

    def _by_chance(self, count: int, offering: Offering, weather: Weather) -> int:
        now = self.timeline.now
        if now < self._dry_until.get(offering, 0.0):
            return 0
        if weather.no_capacity and self.chance.random() < weather.no_capacity:
            self._dry_until[offering] = now + _NO_CAPACITY_S
            return 0
        if weather.partial_launches and self.chance.random() < weather.partial_launches:
            return count // 2
        return count
