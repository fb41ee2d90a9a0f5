"""For how long something that must not last has lasted, while nobody hindered the controllers."""

from __future__ import annotations

from collections.abc import Sequence

from config.settings import ControllerSettings
from controller.simulation.world import World
from core.fleet.terms import Terms

_LEASES = 5
"""After slow ticks a lease lasts so many of its usual lengths at most (`controller.state.ledger`)."""
_CONSISTENT_S = 60.0
"""A queue's count is never older than this, where counts lag at all."""


class Stopwatches:
    """Told of every tick. Each counts ticks in a row in which a controller led and every call was answered."""

    def __init__(self, controls: ControllerSettings) -> None:
        self._controls = controls
        self._leader: str | None = None
        self.reset()

    def reset(self) -> None:
        self._headless = 0
        self._begin()

    def _begin(self) -> None:
        """Whoever takes office looks at all with new eyes."""
        self._starving = self._idling = 0
        self._unknown: dict[str, int] = {}

    def tick(
        self,
        world: World,
        leader: str | None,
        terms: Terms | None,
        *,
        hindered: bool,
        may_launch: bool,
        unknown: Sequence[str],
    ) -> None:
        """`may_launch`: another instance was to be had, and none was asked for; `unknown` are in no ledger."""
        if hindered:
            self.reset()
            return
        if leader is None or terms is None:
            self._begin()
            self._headless += 1
            assert self._headless * self._tick_s <= _LEASES * self._lease_s + 3 * self._tick_s, "nobody leads"
            return
        if leader != self._leader:
            self.reset()
        self._leader, self._headless = leader, 0
        self._adopts_or_ends(unknown)
        self._launches(world, terms, may_launch)
        self._lets_go(world, terms)

    @property
    def _tick_s(self) -> float:
        return self._controls.tick_s

    @property
    def _lease_s(self) -> float:
        return max(self._controls.lease_s, 2 * self._tick_s)

    def _adopts_or_ends(self, unknown: Sequence[str]) -> None:
        self._unknown = {id_: self._unknown.get(id_, 0) + 1 for id_ in unknown}
        longest = max(self._unknown.values(), default=0) * self._tick_s
        assert longest <= self._controls.lost_after_s + 3 * self._tick_s, "an instance is neither adopted nor ended"

    def _launches(self, world: World, terms: Terms, may_launch: bool) -> None:
        """A worker that is asked for within two ticks is there within B + 2 ticks.

        Where counts lag, from when they tell of the work; where boots failed, from the end of the pause.
        """
        short = world.queue.visible and may_launch and not any(one.alive for one in world.cloud.workers.values())
        self._starving = self._starving + 1 if short else 0
        late = _CONSISTENT_S if world.queue.weather.count_lag_s else 0.0
        pause = self._controls.breaker_reset_s if terms.failures else 0.0
        assert self._starving * self._tick_s <= 2 * self._tick_s + late + pause, (
            "work waits, and no worker is asked for"
        )

    def _lets_go(self, world: World, terms: Terms) -> None:
        """An idle worker goes after its time and drains; one that hangs, or never boots, when that is noticed."""
        idle = not world.queue.outstanding and any(one.alive for one in world.cloud.workers.values())
        self._idling = self._idling + 1 if idle else 0
        controls = self._controls
        notice = max(controls.boot_deadline_s, controls.lost_after_s + terms.keep_s + controls.drain_deadline_s)
        assert self._idling * self._tick_s <= notice + _CONSISTENT_S + 4 * self._tick_s, (
            "nothing waits, and workers stay"
        )
