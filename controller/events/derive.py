"""Derive the fleet's events from each observation and plan: who started or ended which worker, and why. No I/O.

1. Each kind of event happens once to a worker. Only the kinds that happened are remembered, so a new leader can
   continue from the stored events.
2. The observation shows what happened to a worker. The plan shows what this controller is about to do to it. Each
   event takes its reason from the one that shows it.
3. A worker is `launched` when the fleet first lists it. The launch's token leads to the decision behind it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from controller.events.render import sentence
from controller.state.ledger import Intent
from controller.state.model import Observation, Plan, Stage, Worker
from controller.state.tracker import Reading
from core.fleet.events import ENDS, Actor, FleetEvent, Kind
from core.fleet.roster import Heartbeat, WorkerState
from core.storage.ports import PROCESS, Instance, InstanceState, Offering

_MISSED = 3
"""A worker counts as gone once it is unlisted for this many ticks in a row: a list may lag."""
_KINDS: Mapping[Stage, Kind] = {
    Stage.IDLE: "ready",
    Stage.BUSY: "ready",
    Stage.DRAINING: "asked_to_drain",
    Stage.INTERRUPTED: "interrupted",
    Stage.DRAINED: "drained",
    Stage.LOST: "lost",
    Stage.BOOT_FAILED: "boot_failed",
    Stage.ORPHAN: "orphan",
}
_FINISHED = "it has finished what it held"
_ORPHANED = "no launch of it is on record, and it gives no sign of life"
_FAULTS = {
    Stage.LOST: "it gives no sign of life",
    Stage.BOOT_FAILED: "it was not ready in time",
    Stage.ORPHAN: _ORPHANED,
}


@dataclass(frozen=True, slots=True)
class Tick:
    """Everything about one tick: what was observed, what was planned, and which launches are open."""

    reading: Reading
    observation: Observation
    plan: Plan
    before: Sequence[Intent]
    """The launches that were open when the tick began."""
    after: Sequence[Intent]
    """The launches that are open once the plan is applied."""
    adopted: Collection[str]
    controller: str
    decisions: Mapping[str, str]
    """The id of each pool's decision."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A worker: the kinds of events that happened to it, and its stage at the last tick."""

    pool: str
    offering: str
    kinds: frozenset[Kind]
    stage: Stage | None = None
    missed: int = 0


class EventDeriver:
    """Derives the events of one leader's term. It continues from `kept`, the stored events, oldest first."""

    def __init__(self, kept: Sequence[FleetEvent] = ()) -> None:
        self._known: dict[str, _Known] = {}
        self._launches: dict[str, tuple[str, str]] = {}
        """Why a launch was decided, by its token: the decision's id and sentence."""
        for event in kept:
            before = self._known.get(event.worker_id)
            kinds = (before.kinds if before else frozenset()) | {event.kind}
            self._known[event.worker_id] = _Known(event.pool, event.offering, kinds)

    def derive(self, tick: Tick) -> list[FleetEvent]:
        """Return the events since the previous tick, those of each worker in the order of its life."""
        listed, beats = tick.reading.listed, tick.reading.heard
        launched = {intent.token for intent in tick.before} | self._launches.keys()
        events: list[FleetEvent] = []
        workers = (worker for view in tick.observation.pools for worker in view.workers)
        seen = {worker.id: worker for worker in workers if worker.ours and worker.id in listed}
        for id_, worker in seen.items():
            if not self._unchanged(worker) or id_ in tick.adopted:
                events += self._seen(worker, listed[id_], beats.get(id_), launched, tick)
        for id_, instance in listed.items():
            if id_ not in self._known and instance.state is InstanceState.GONE and instance.token in launched:
                events += self._new(instance, tick)
        for id_ in self._known.keys() - seen.keys():
            events += self._missing(id_, listed.get(id_), beats.get(id_), tick)
        events += self._planned(seen, tick)
        self._remember(tick)
        return events

    def _unchanged(self, worker: Worker) -> bool:
        """Return whether the worker's stage is the last tick's (idle and busy count as one).

        This quick check skips most of a large fleet.
        """
        known = self._known.get(worker.id)
        if known is None or known.missed:
            return False
        stage = known.stage
        return stage is worker.stage or (stage is not None and stage.ready and worker.stage.ready)

    # --- what was seen ------------------------------------------------------------------------

    def _seen(
        self, worker: Worker, instance: Instance, beat: Heartbeat | None, launched: Collection[str], tick: Tick
    ) -> Iterator[FleetEvent]:
        id_, stage = worker.id, worker.stage
        if id_ not in self._known and instance.token in launched:
            yield from self._new(instance, tick)
        elif id_ not in self._known:  # an earlier controller recorded it, longer ago than the stored events
            past: list[Kind] = ["launched"] if stage.coming else ["launched", "ready"]
            if id_ in tick.reading.drain_requests:
                past.append("asked_to_drain")
            if id_ not in tick.adopted and stage is not Stage.ORPHAN and stage in _KINDS:
                past.append(_KINDS[stage])
            self._known[id_] = _Known(instance.pool, _offering_of(instance), frozenset(past))
        known = self._known[id_] = replace(self._known[id_], stage=stage, missed=0, offering=_offering_of(instance))
        if id_ in tick.adopted and "adopted" not in known.kinds:
            said = "it runs, but no launch of it is on record"
            yield self._event(id_, "adopted", "controller", said, tick, controller=tick.controller)
        yield from self._requested(id_, tick)
        if (kind := _KINDS.get(stage)) and kind not in self._known[id_].kinds:
            by, reason = _why(kind, worker, instance, beat)
            yield self._event(id_, kind, by, reason, tick)

    def _new(self, instance: Instance, tick: Tick) -> Iterator[FleetEvent]:
        self._known[instance.id] = _Known(instance.pool, _offering_of(instance), frozenset())
        if instance.token in self._launches:
            decision, reason = self._launches[instance.token]
            by = {"controller": tick.controller, "decision": decision}
        else:
            by, reason = {}, "the previous controller had decided it"
        yield self._event(instance.id, "launched", "controller", reason, tick, **by)

    def _requested(self, id_: str, tick: Tick) -> Iterator[FleetEvent]:
        """Attribute a drain request to an operator if no controller recorded one."""
        if id_ in tick.reading.drain_requests and not self._known[id_].kinds & ({"asked_to_drain"} | ENDS):
            yield self._event(id_, "asked_to_drain", "operator", "an operator asked for it", tick)

    def _missing(self, id_: str, instance: Instance | None, beat: Heartbeat | None, tick: Tick) -> Iterator[FleetEvent]:
        """Record the end of a worker that is no longer at work, unless an event already did."""
        known = self._known[id_] = replace(self._known[id_], missed=self._known[id_].missed + 1)
        if instance is None and known.missed < _MISSED:
            return
        yield from self._requested(id_, tick)
        known = self._known[id_]
        if not known.kinds & ENDS:
            kind, by, reason = _end(known, beat, instance.ended if instance else "")
            yield self._event(id_, kind, by, reason, tick)
        if instance is None:
            del self._known[id_]

    # --- what was planned ---------------------------------------------------------------------

    def _planned(self, seen: Mapping[str, Worker], tick: Tick) -> Iterator[FleetEvent]:
        for pool in tick.plan.pools:
            by = {"controller": tick.controller, "decision": tick.decisions.get(pool.pool, "")}
            for id_ in pool.drain:
                if id_ in self._known and "asked_to_drain" not in self._known[id_].kinds:
                    yield self._event(id_, "asked_to_drain", "controller", sentence(pool), tick, **by)
            for id_ in pool.terminate:
                if id_ in seen and "ended" not in self._known[id_].kinds:
                    stage, beat = seen[id_].stage, tick.reading.heard.get(id_)
                    fault = _FAULTS.get(stage, "its time to drain is over")
                    reason = _finished(beat) if stage is Stage.DRAINED else fault
                    yield self._event(id_, "ended", "controller", reason, tick, **by)

    def _remember(self, tick: Tick) -> None:
        """Remember the decision behind each open launch, except launches that an earlier controller decided."""
        decided = {decision.pool: decision for decision in tick.plan.pools}
        inherited = {intent.token for intent in tick.before} - self._launches.keys()
        launches: dict[str, tuple[str, str]] = {}
        for intent in tick.after:
            if intent.token in self._launches:
                launches[intent.token] = self._launches[intent.token]
            elif intent.token not in inherited:
                reason = sentence(decided[intent.pool]) if intent.pool in decided else ""
                launches[intent.token] = tick.decisions.get(intent.pool, ""), reason
        self._launches = launches

    def _event(self, id_: str, kind: Kind, by: Actor, reason: str, tick: Tick, **more: Any) -> FleetEvent:
        known = self._known[id_]
        self._known[id_] = replace(known, kinds=known.kinds | {kind})
        return FleetEvent(
            at=tick.reading.at,
            kind=kind,
            pool=known.pool,
            worker_id=id_,
            offering=known.offering,
            by=by,
            reason=reason,
            **more,
        )


def _why(kind: Kind, worker: Worker, instance: Instance, beat: Heartbeat | None) -> tuple[Actor, str]:
    match kind:
        case "ready":
            seconds = beat.boot.ready if beat and beat.boot else worker.age_s
            return "itself", f"{seconds:.1f} s after its launch"
        case "asked_to_drain":
            return "itself", "it was stopped on its machine"
        case "interrupted":
            return "owner", beat.leaving if beat else "its machine is being taken away"
        case "lost" if instance.state is InstanceState.STOPPED:
            return "owner", "its machine was stopped"
        case "lost":
            return "itself", "it gives no sign of life"
        case "boot_failed":
            return "itself", f"it was not ready {worker.age_s:.0f} s after its launch{_said(beat)}"
        case "orphan":
            return "itself", _ORPHANED
        case _:
            return "itself", _finished(beat)


def _end(known: _Known, beat: Heartbeat | None, ended: str) -> tuple[Kind, Actor, str]:
    """Return how a worker ended that no controller ended: kind, actor, reason. `ended` is the fleet's own account."""
    how = f": {ended}" if ended else ""
    if beat and beat.state is WorkerState.DRAINED:
        return "drained", "itself", _finished(beat)
    if "interrupted" in known.kinds:
        return "gone", "owner", "its machine was taken away"
    if not known.kinds & {"ready", "asked_to_drain"}:
        return "boot_failed", "itself", f"it ended before it was ready{_said(beat) or how}"
    if known.offering.startswith(PROCESS.type):
        return "gone", "itself", f"its process ended, but not by a controller{how}"
    return "gone", "owner", f"its machine was ended, but not by a controller{how}"


def _finished(beat: Heartbeat | None) -> str:
    return f"it ended in the middle of work: {beat.ended_by}" if beat and beat.ended_by else _FINISHED


def _said(beat: Heartbeat | None) -> str:
    return f", it said: {beat.notice}" if beat and beat.notice else ""


def _offering_of(instance: Instance) -> str:
    process = instance.type == PROCESS.type
    return instance.type if process else str(Offering(instance.type, instance.zone, instance.market))
