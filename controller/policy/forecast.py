"""Forecast demand from the time of day: the schedule's floor and yesterday's arrivals.

The policy has no clock, so the forecaster adds both to an observation. They are for the time when a worker launched
now will be ready.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pydantic import TypeAdapter, ValidationError

from config.schedule import Schedule
from controller.policy.arrival_profile import SLOT_S, ArrivalProfile, Slot
from controller.policy.estimates import estimate_boot_s
from controller.state.model import Memory, Observation, Policy, PoolMemory, PoolView
from core import telemetry
from core.errors import NotFound, Unavailable
from core.storage import layout
from core.storage.ports import ObjectStore

_STORED = TypeAdapter(dict[str, tuple[Slot, ...]])


class Forecaster:
    """Forecasts during one leader's term. It continues the profiles that the last leader stored.

    Without `from_yesterday` it reads and stores nothing, and only the schedules count.
    """

    def __init__(self, store: ObjectStore, schedules: Mapping[str, Schedule], *, from_yesterday: bool) -> None:
        self._store = store
        self._schedules = schedules
        self._profiles: dict[str, ArrivalProfile] | None = {} if from_yesterday else None
        self._loaded = self._changed = False

    def add_forecast(self, observation: Observation, at: float, memory: Memory, policy: Policy) -> Observation:
        """Return the observation with the demand to expect one boot from now; `at` is Unix time."""
        if self._profiles is None and not self._schedules:
            return observation
        if self._profiles is not None and not self._loaded:
            self._load(self._profiles)
        views = (self._forecast(view, observation.elapsed_s, at, memory, policy) for view in observation.pools)
        return replace(observation, pools=tuple(views))

    def save(self) -> None:
        """Store the profiles when a slot has ended: four times an hour. Raises Unavailable."""
        if self._profiles and self._changed and self._loaded:
            slots = {pool: profile.slots for pool, profile in self._profiles.items()}
            self._store.put(layout.ARRIVALS, _STORED.dump_json(slots), content_type="application/json")
            self._changed = False

    def _forecast(self, view: PoolView, elapsed_s: float, at: float, memory: Memory, policy: Policy) -> PoolView:
        boot = estimate_boot_s(memory.get(view.pool, PoolMemory()), policy)
        schedule, foreseen = self._schedules.get(view.pool), 0.0
        if self._profiles is not None:
            profile = self._profiles.setdefault(view.pool, ArrivalProfile())
            if elapsed_s > 0:  # the next reading includes what arrived while nothing could be read
                self._changed |= profile.add(at, elapsed_s, 0.0 if view.unread else view.delta.arrived)
            foreseen = profile.find_peak_rate(at, boot + SLOT_S)
        # The next tick, about as far off as the last one, would be too late for a window that begins before it.
        return replace(view, floor=schedule.floor(at, boot + elapsed_s) if schedule else 0, foreseen=foreseen)

    def _load(self, profiles: dict[str, ArrivalProfile]) -> None:
        """Read the stored profiles. Until the store answers, they are neither used nor overwritten."""
        try:
            stored = _STORED.validate_json(self._store.get(layout.ARRIVALS).data)
        except NotFound:
            stored = {}
        except Unavailable:
            return
        except ValidationError as error:
            stored = {}
            telemetry.logger().warning(
                f"{layout.ARRIVALS} in the store cannot be read ({error.error_count()} errors): the forecast starts "
                "without yesterday's arrivals"
            )
        self._loaded = True
        for pool, slots in stored.items():
            profiles.setdefault(pool, ArrivalProfile()).restore(slots)
