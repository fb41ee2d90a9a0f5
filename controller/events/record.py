"""Record what the controller decided and what happened to the fleet: in the log, and in the store for everybody else.

1. `ChangeLogger` writes a line when something changes, and nothing while it stays the same.
2. `Recorder` gives each decision its id, logs and stores it when its rule or action changes (and now and then with new
   numbers), and keeps the last decisions and events of the fleet.
3. A failed write is repeated with the next change or tick. Nothing here stops a controller.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

from controller.events.derive import EventDeriver, Tick
from controller.events.render import sentence
from controller.state.model import Plan
from core import telemetry
from core.domain.ids import new_id
from core.errors import Unavailable
from core.fleet.decisions import Decision, DecisionRecord
from core.fleet.events import FleetEvent
from core.fleet.roster import Roster
from core.util.clock import Clock

DECISIONS = 100
"""How many decisions the store keeps, over all pools."""
EVENTS = 200
"""How many events of the fleet the store keeps."""

T = TypeVar("T")


class ChangeLogger:
    """Logs each subject once for each change: an outage of an hour is one line."""

    def __init__(self) -> None:
        self._log = telemetry.logger()
        self._last: dict[str, str] = {}

    def changed(self, subject: str, text: str, *, key: str = "", **context: str) -> None:
        """Log `text` unless the subject's last line had the same `key`; without a key, the same text."""
        if self._last.get(subject) != (key or text):
            self._last[subject] = key or text
            self._log.info(text, **context)

    def clear(self, subject: str, text: str = "") -> None:
        """Forget the subject's last line. If there was one, log `text`."""
        if self._last.pop(subject, None) and text:
            self._log.info(text)

    @contextmanager
    def tolerate(self, failure: str) -> Iterator[None]:
        """Run the block; if it raises Unavailable, log that as `failure` and go on."""
        try:
            yield
        except Unavailable as error:
            self.changed(failure, f"{failure}: {error}")
        else:
            self.clear(failure)


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


class KeptList(Generic[T]):
    """The last `size` items of a list in the store. A new leader continues the list."""

    def __init__(self, load: Callable[[], Sequence[T]], save: Callable[[tuple[T, ...]], None], size: int) -> None:
        self._load = load
        self._save = save
        self._size = size
        self._items: tuple[T, ...] | None = None
        self._saved = True

    @property
    def items(self) -> tuple[T, ...]:
        """The items, oldest first. Raises Unavailable until the store has answered once."""
        if self._items is None:
            self._items = tuple(self._load())
        return self._items

    def add(self, new: Sequence[T]) -> None:
        """Append items, and save the list if it has unsaved items. After Unavailable, the next call saves them."""
        if new:
            self._items, self._saved = (*self.items, *new)[-self._size :], False
        if not self._saved:
            self._save(self.items)
            self._saved = True


@dataclass(slots=True)
class _Pool:
    """A pool's current decision. It keeps its id while its rule and action stay, even if its numbers change."""

    kind: tuple[str, str]
    id: str
    stored: DecisionRecord | None = None
    stored_at: float = 0.0


class Recorder:
    """Records one leader's term. An unchanged decision is stored again after `repeat_s` seconds."""

    def __init__(self, roster: Roster, log: ChangeLogger, clock: Clock, repeat_s: float) -> None:
        self._roster = roster
        self._log = log
        self._clock = clock
        self._repeat_s = repeat_s
        self._pools: dict[str, _Pool] = {}
        self._history: KeptList[DecisionRecord] = KeptList(roster.past_decisions, roster.keep_past_decisions, DECISIONS)
        self._events: KeptList[FleetEvent] = KeptList(roster.events, roster.keep_events, EVENTS)
        self._deriver: EventDeriver | None = None

    @property
    def decision_ids(self) -> dict[str, str]:
        """The id of each pool's last decision."""
        return {name: pool.id for name, pool in self._pools.items()}

    def record_decisions(self, plan: Plan, *, store: bool) -> list[DecisionRecord]:
        """Log the decisions whose rule or action changed. With `store`, store new decisions too. Raises Unavailable.

        Returns the new decisions: the action or sentence changed, or the last return is more than `repeat_s` ago.
        """
        records = [self._record(decision) for decision in plan.pools]
        fresh = [record for record in records if self._is_fresh(record)]
        if store:
            for record in fresh:
                self._roster.record_decision(record)
            last = {record.pool: record.kind for record in self._history.items}
            self._history.add([record for record in records if last.get(record.pool) != record.kind])
        return fresh

    def record_events(self, tick: Tick) -> None:
        """Log and store the fleet's events since the previous tick. Raises Unavailable."""
        if self._deriver is None:
            self._deriver = EventDeriver(self._events.items)
        new = self._deriver.derive(tick)
        for event in new:
            _log_event(event)
        self._events.add(new)

    def _record(self, decision: Decision) -> DecisionRecord:
        kind = str(decision.rule), decision.action
        pool = self._pools.get(decision.pool)
        if pool is None:
            pool = self._pools[decision.pool] = _Pool(kind, new_id("dec"))
        elif pool.kind != kind:
            pool.kind, pool.id = kind, new_id("dec")
        record = record_of(decision, at=self._clock.wall(), id=pool.id)
        self._log.changed(
            f"pool {record.pool}", record.reason, key=" ".join(kind), pool=record.pool, decision=record.id
        )
        return record

    def _is_fresh(self, record: DecisionRecord) -> bool:
        pool, now = self._pools[record.pool], self._clock.monotonic()
        before = pool.stored
        same = before is not None and (before.action, before.reason) == (record.action, record.reason)
        if same and now - pool.stored_at <= self._repeat_s:
            return False
        pool.stored, pool.stored_at = record, now
        return True


def _log_event(event: FleetEvent) -> None:
    """Log an event under its title, such as `worker asked to drain`, with pool, worker, actor and reason."""
    optional = {"offering": event.offering, "decision": event.decision}
    telemetry.logger().info(
        f"worker {event.title}",
        pool=event.pool,
        worker=event.worker_id,
        by=event.by,
        reason=event.reason,
        **{name: text for name, text in optional.items() if text},
    )
