"""A roster that reads the simulated workers directly."""

from __future__ import annotations

from controller.simulation.cloud import Cloud
from core.fleet.decisions import DecisionHistory, DecisionRecord
from core.fleet.events import FleetEvents
from core.fleet.roster import Glance, Heartbeat, Roster
from core.storage.ports import ObjectStore


class SimulatedRoster(Roster):
    """Heartbeats come from the workers as they are, without a store between; decisions go to whoever runs this."""

    def __init__(self, store: ObjectStore, cloud: Cloud) -> None:
        super().__init__(store)
        self._cloud = cloud

    def glance(self) -> Glance:
        return Glance(self.workers(), frozenset(self._cloud.wishes), paused=False)

    def workers(self) -> list[Heartbeat]:
        now = self._cloud.timeline.now
        return [one.heartbeat(now) for one in self._cloud.workers.values() if one.ready_s is not None]

    def forget(self, worker_ids: list[str]) -> None:
        self._cloud.forget(worker_ids)

    def request_drain(self, worker_id: str) -> None:
        self._cloud.request_drain(worker_id)

    def record_decision(self, decision: DecisionRecord) -> None:
        """Nobody reads it here: a run looks at the plans."""

    def keep_history(self, history: DecisionHistory) -> None:
        """As above."""

    def keep_changes(self, changes: FleetEvents) -> None:
        """As above."""

    def history(self) -> DecisionHistory:
        return DecisionHistory()
