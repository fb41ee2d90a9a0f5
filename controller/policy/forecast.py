"""What the time of day calls for: the schedule's floor, and yesterday's arrivals. The policy knows no clock."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from pydantic import TypeAdapter, ValidationError

from config.schedule import Schedule
from controller.policy.arrival_profile import SLOT_S, Shape, Slot
from controller.policy.estimates import boot_time
from controller.state.model import Memory, Observation, Policy, PoolMemory, PoolView
from core import telemetry
from core.errors import NotFound, Unavailable
from core.storage import layout
from core.storage.ports import ObjectStore

_KEPT = TypeAdapter(dict[str, tuple[Slot, ...]])


class Foresight:
    """Of one term of office: a controller that takes over goes on with what the last one kept.

    `shapes` says whether yesterday is looked at; where not, nothing is read or kept.
    """

    def __init__(self, store: ObjectStore, schedules: Mapping[str, Schedule], *, shapes: bool) -> None:
        self._store = store
        self._schedules = schedules
        self._shapes: dict[str, Shape] | None = {} if shapes else None
        self._read = self._new = False

    def look(self, observation: Observation, at: float, memory: Memory, policy: Policy) -> Observation:
        """The observation with what is to be ready one boot from now; `at` is Unix time."""
        if self._shapes is None and not self._schedules:
            return observation
        if self._shapes is not None and not self._read:
            self._recall(self._shapes)
        views = (self._ahead(view, observation.elapsed_s, at, memory, policy) for view in observation.pools)
        return replace(observation, pools=tuple(views))

    def keep(self) -> None:
        """Write the slots down when one came to its end: four times an hour. Raises Unavailable."""
        if self._shapes and self._new and self._read:
            slots = {pool: shape.slots for pool, shape in self._shapes.items()}
            self._store.put(layout.ARRIVALS, _KEPT.dump_json(slots), content_type="application/json")
            self._new = False

    def _ahead(self, view: PoolView, elapsed_s: float, at: float, memory: Memory, policy: Policy) -> PoolView:
        boot = boot_time(memory.get(view.pool, PoolMemory()), policy)
        plan, foreseen = self._schedules.get(view.pool), 0.0
        if self._shapes is not None:
            shape = self._shapes.setdefault(view.pool, Shape())
            if elapsed_s > 0:  # what arrived while nothing could be read is told with the next reading
                self._new |= shape.note(at, elapsed_s, 0.0 if view.unread else view.news.arrived)
            foreseen = shape.a_day_before(at, boot + SLOT_S)
        # The next look, about as far off as the last one, would be too late for what begins before it.
        return replace(view, floor=plan.floor(at, boot + elapsed_s) if plan else 0, foreseen=foreseen)

    def _recall(self, shapes: dict[str, Shape]) -> None:
        """Without it nothing is foreseen, and nothing is kept over it either: it is read at a later tick."""
        try:
            kept = _KEPT.validate_json(self._store.get(layout.ARRIVALS).data)
        except NotFound:
            kept = {}
        except Unavailable:
            return
        except ValidationError as error:
            kept = {}
            telemetry.logger().warning(
                f"{layout.ARRIVALS} in the store cannot be read ({error.error_count()} errors): yesterday is forgotten"
            )
        self._read = True
        for pool, slots in kept.items():
            shapes.setdefault(pool, Shape()).remember(slots)
