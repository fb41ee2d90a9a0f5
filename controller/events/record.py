"""What a controller writes down of its decisions and of what came of them, in the log and in the store."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from controller.events.derive import Scene
from controller.events.history import Changelog, History
from controller.events.render import sentence
from controller.events.voice import Voice
from controller.state.model import Plan
from core.domain.ids import new_id
from core.fleet.decisions import Decision, DecisionRecord
from core.fleet.roster import Roster


def record_of(decision: Decision, *, at: float, id: str = "") -> DecisionRecord:
    """Return the decision as the store keeps it, with its sentence; `at` is Unix time."""
    return DecisionRecord(
        id=id,
        at=at,
        pool=decision.pool,
        action=decision.action,
        reason=sentence(decision),
        terms=decision.stored_terms(),
    )


@dataclass(slots=True)
class _Decided:
    """A pool's decision: the same one, with new numbers, while rule and action stay."""

    kind: str
    id: str
    written: DecisionRecord | None = None
    written_at: float = 0.0


class Minutes:
    """Of one term of office. A decision that stays as it is is written anew after `record_s` seconds.

    `clock` is monotonic, `wall` tells Unix time.
    """

    def __init__(
        self,
        roster: Roster,
        voice: Voice,
        record_s: float,
        *,
        clock: Callable[[], float],
        wall: Callable[[], float],
    ) -> None:
        self._roster = roster
        self._voice = voice
        self._record_s = record_s
        self._clock = clock
        self._wall = wall
        self._history = History(roster)
        self._changelog = Changelog(roster)
        self._decided: dict[str, _Decided] = {}

    @property
    def decisions(self) -> dict[str, str]:
        """The id of each pool's decision."""
        return {pool: decided.id for pool, decided in self._decided.items()}

    def note(self, plan: Plan, *, keep: bool) -> list[DecisionRecord]:
        """Log each decision that is another one; returns those that are new to the last word, or were long told.

        They are kept in the store where `keep` says so. Raises Unavailable.
        """
        records = [self._record(pool) for pool in plan.pools]
        fresh = [record for record in records if self._fresh(record)]
        if keep:
            for record in fresh:
                self._roster.record_decision(record)
            self._history.note(records)
        return fresh

    def tell(self, scene: Scene) -> None:
        """Log and keep what changed in the fleet. Raises Unavailable."""
        self._changelog.note(scene)

    def _record(self, pool: Decision) -> DecisionRecord:
        kind = f"{pool.rule} {pool.action}"
        decided = self._decided.get(pool.pool)
        if decided is None:
            decided = self._decided[pool.pool] = _Decided(kind, new_id("dec"))
        elif decided.kind != kind:
            decided.kind, decided.id = kind, new_id("dec")
        record = record_of(pool, at=self._wall(), id=decided.id)
        self._voice.say(f"pool {pool.pool}", record.reason, key=kind, pool=pool.pool, decision=decided.id)
        return record

    def _fresh(self, record: DecisionRecord) -> bool:
        decided, now = self._decided[record.pool], self._clock()
        before = decided.written
        if (
            before is not None
            and (before.action, before.reason) == (record.action, record.reason)
            and now - decided.written_at <= self._record_s
        ):
            return False
        decided.written, decided.written_at = record, now
        return True
