"""What the controller decided lately and what came of the workers, kept in the store; written only where it is new."""

from __future__ import annotations

from collections.abc import Sequence

from controller.events.derive import Chronicle, Scene
from core import telemetry
from core.fleet.decisions import DecisionHistory, DecisionRecord
from core.fleet.events import FleetEvent, FleetEvents
from core.fleet.roster import Roster

LENGTH = 100
"""Decisions kept, those of all pools together."""
CHANGES = 200
"""Changes of the fleet kept."""


class History:
    """Of one term of office: a controller that takes over goes on with what the last one kept."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._records: tuple[DecisionRecord, ...] | None = None
        self._last: dict[str, tuple[object, str]] = {}
        """What kind of decision each pool's last one is."""

    def note(self, decisions: Sequence[DecisionRecord]) -> None:
        """Keep those by another rule, or with another action, than their pool's last one. Raises Unavailable."""
        if self._records is None:
            self._records = self._roster.history().records
            self._last = {record.pool: _kind(record) for record in self._records}
        new = tuple(record for record in decisions if self._last.get(record.pool) != _kind(record))
        if new:
            records = (self._records + new)[-LENGTH:]
            self._roster.keep_history(DecisionHistory(records=records))
            self._records = records
            self._last = {record.pool: _kind(record) for record in records}


class Changelog:
    """Of one term of office, as the history is."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._chronicle: Chronicle | None = None
        self._changes: tuple[FleetEvent, ...] = ()
        self._kept = True
        self._log = telemetry.logger()

    def note(self, scene: Scene) -> None:
        """Log and keep what changed; what could not be kept is kept with the next. Raises Unavailable."""
        if self._chronicle is None:
            self._changes = self._roster.changes().changes
            self._chronicle = Chronicle(self._changes)
        new = self._chronicle.tell(scene)
        for change in new:
            self._say(change)
        if new:
            self._changes, self._kept = (*self._changes, *new)[-CHANGES:], False
        if not self._kept:
            self._roster.keep_changes(FleetEvents(changes=self._changes))
            self._kept = True

    def _say(self, change: FleetEvent) -> None:
        told = {"pool": change.pool, "worker": change.worker_id, "by": change.by, "reason": change.reason}
        more = {"offering": change.offering, "decision": change.decision}
        words = change.kind.replace("_", " ")
        self._log.info(f"worker {words}", **told, **{name: text for name, text in more.items() if text})


def _kind(record: DecisionRecord) -> tuple[object, str]:
    return record.terms.get("rule"), record.action
