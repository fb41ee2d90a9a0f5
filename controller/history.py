"""What the controller decided lately, kept in the store: a decision is noted where it differs from the one before."""

from __future__ import annotations

from collections.abc import Sequence

from core.roster import DecisionHistory, DecisionRecord, Roster

LENGTH = 100
"""Decisions kept, those of all pools together."""


class History:
    """Of one term of office: a controller that takes over goes on with what the last one kept."""

    def __init__(self, roster: Roster) -> None:
        self._roster = roster
        self._records: tuple[DecisionRecord, ...] | None = None

    def note(self, decisions: Sequence[DecisionRecord]) -> None:
        """Keep those by another rule, or with another action, than their pool's last one. Raises Unavailable."""
        if self._records is None:
            self._records = self._roster.history().records
        last = {record.pool: _kind(record) for record in self._records}
        new = tuple(record for record in decisions if last.get(record.pool) != _kind(record))
        if new:
            records = (self._records + new)[-LENGTH:]
            self._roster.keep_history(DecisionHistory(records=records))
            self._records = records


def _kind(record: DecisionRecord) -> tuple[object, str]:
    return record.terms.get("rule"), record.action
