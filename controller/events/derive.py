"""The changelog of the fleet: from one observation and plan to the next, who started or ended what, and why. No I/O.

Each kind of change is told once of a worker, and what was told is all that is remembered: a controller that takes over
goes on from the changes that were kept.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from controller.events.render import sentence
from controller.state.ledger import Intent
from controller.state.model import Observation, Plan, Stage, Worker
from controller.state.tracker import Reading
from core.fleet.events import Actor, FleetEvent, Kind
from core.fleet.roster import Heartbeat, WorkerState
from core.storage.ports import PROCESS, Instance, InstanceState, Offering

_MISSED = 3
"""Looks after which a worker that is listed no more is gone: a list may lag."""
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
_STRAY = "no launch of it is on record, and it gives no sign of life"
_FAULTS = {
    Stage.LOST: "it gives no sign of life",
    Stage.BOOT_FAILED: "it was not ready in time",
    Stage.ORPHAN: _STRAY,
}
_ENDS: frozenset[Kind] = frozenset({"ended", "drained", "boot_failed", "gone"})


@dataclass(frozen=True, slots=True)
class Scene:
    """All of one tick: what was seen, what was planned, and what is on record of launches."""

    reading: Reading
    observation: Observation
    plan: Plan
    before: Sequence[Intent]
    """Launches that were open when it looked."""
    after: Sequence[Intent]
    """Those that are open now."""
    adopted: Collection[str]
    controller: str
    decisions: Mapping[str, str]
    """The id of each pool's decision."""


@dataclass(frozen=True, slots=True)
class _Told:
    pool: str
    offering: str
    kinds: frozenset[Kind]
    stage: Stage | None = None
    missed: int = 0


class Chronicle:
    """One per term of office, begun with the changes that were kept, oldest first."""

    def __init__(self, kept: Sequence[FleetEvent] = ()) -> None:
        self._told: dict[str, _Told] = {}
        self._orders: dict[str, tuple[str, str]] = {}
        """Why a launch was decided, by its token: the decision's id and words."""
        for change in kept:
            before = self._told.get(change.worker_id)
            kinds = (before.kinds if before else frozenset()) | {change.kind}
            self._told[change.worker_id] = _Told(change.pool, change.offering, kinds)

    def tell(self, scene: Scene) -> list[FleetEvent]:
        """What happened since the scene before, in the order of a worker's life."""
        listed, beats = scene.reading.listed, scene.reading.heard
        launched = {intent.token for intent in scene.before} | self._orders.keys()
        changes: list[FleetEvent] = []
        workers = (worker for view in scene.observation.pools for worker in view.workers)
        seen = {worker.id: worker for worker in workers if worker.ours and worker.id in listed}
        for id_, worker in seen.items():
            if not self._same(worker) or id_ in scene.adopted:
                changes += self._met(worker, listed[id_], beats.get(id_), launched, scene)
        for id_, instance in listed.items():
            if id_ not in self._told and instance.state is InstanceState.GONE and instance.token in launched:
                changes += self._new(instance, scene)
        for id_ in self._told.keys() - seen.keys():
            changes += self._missing(id_, listed.get(id_), beats.get(id_), scene)
        changes += self._planned(seen, scene)
        self._remember(scene)
        return changes

    def _same(self, worker: Worker) -> bool:
        """Whether nothing is new of it: most of a large fleet, so this is quick."""
        told = self._told.get(worker.id)
        if told is None or told.missed:
            return False
        stage = told.stage
        return stage is worker.stage or (stage is not None and stage.ready and worker.stage.ready)

    # --- what was seen ------------------------------------------------------------------------

    def _met(
        self, worker: Worker, instance: Instance, beat: Heartbeat | None, launched: Collection[str], scene: Scene
    ) -> Iterator[FleetEvent]:
        id_, stage = worker.id, worker.stage
        if id_ not in self._told and instance.token in launched:
            yield from self._new(instance, scene)
        elif id_ not in self._told:  # of an earlier controller, which told of it long ago
            past: list[Kind] = ["launched"] if stage.coming else ["launched", "ready"]
            if id_ in scene.reading.drain_requests:
                past.append("asked_to_drain")
            if id_ not in scene.adopted and stage is not Stage.ORPHAN and stage in _KINDS:
                past.append(_KINDS[stage])
            self._told[id_] = _Told(instance.pool, _words(instance), frozenset(past))
        told = self._told[id_] = replace(self._told[id_], stage=stage, missed=0, offering=_words(instance))
        if id_ in scene.adopted and "adopted" not in told.kinds:
            said = "it runs, and no launch of it is on record"
            yield self._change(id_, "adopted", "controller", said, scene, controller=scene.controller)
        yield from self._wished(id_, scene)
        if (kind := _KINDS.get(stage)) and kind not in self._told[id_].kinds:
            by, reason = _why(kind, worker, instance, beat)
            yield self._change(id_, kind, by, reason, scene)

    def _new(self, instance: Instance, scene: Scene) -> Iterator[FleetEvent]:
        self._told[instance.id] = _Told(instance.pool, _words(instance), frozenset())
        if instance.token in self._orders:
            decision, reason = self._orders[instance.token]
            by = {"controller": scene.controller, "decision": decision}
        else:
            by, reason = {}, "the controller before this one had decided it"
        yield self._change(instance.id, "launched", "controller", reason, scene, **by)

    def _wished(self, id_: str, scene: Scene) -> Iterator[FleetEvent]:
        """A wish that no controller is on record with is an operator's."""
        if id_ in scene.reading.drain_requests and not self._told[id_].kinds & ({"asked_to_drain"} | _ENDS):
            yield self._change(id_, "asked_to_drain", "operator", "an operator asked for it", scene)

    def _missing(
        self, id_: str, instance: Instance | None, beat: Heartbeat | None, scene: Scene
    ) -> Iterator[FleetEvent]:
        """It is at work no more; told only where nothing told of its end yet."""
        told = self._told[id_] = replace(self._told[id_], missed=self._told[id_].missed + 1)
        if instance is None and told.missed < _MISSED:
            return
        yield from self._wished(id_, scene)
        told = self._told[id_]
        if not told.kinds & _ENDS:
            kind, by, reason = _end(told, beat, instance.ended if instance else "")
            yield self._change(id_, kind, by, reason, scene)
        if instance is None:
            del self._told[id_]

    # --- what was planned ---------------------------------------------------------------------

    def _planned(self, seen: Mapping[str, Worker], scene: Scene) -> Iterator[FleetEvent]:
        for pool in scene.plan.pools:
            by = {"controller": scene.controller, "decision": scene.decisions.get(pool.pool, "")}
            for id_ in pool.drain:
                if id_ in self._told and "asked_to_drain" not in self._told[id_].kinds:
                    yield self._change(id_, "asked_to_drain", "controller", sentence(pool), scene, **by)
            for id_ in pool.terminate:
                if id_ in seen and "ended" not in self._told[id_].kinds:
                    stage, beat = seen[id_].stage, scene.reading.heard.get(id_)
                    fault = _FAULTS.get(stage, "its time to drain is over")
                    reason = _finished(beat) if stage is Stage.DRAINED else fault
                    yield self._change(id_, "ended", "controller", reason, scene, **by)

    def _remember(self, scene: Scene) -> None:
        """Whose decision each open launch is; those that were open before this controller's first look are none."""
        reasons = {pool.pool: sentence(pool) for pool in scene.plan.pools}
        inherited = {intent.token for intent in scene.before} - self._orders.keys()
        open_ = [intent for intent in scene.after if intent.token not in inherited]
        new = {one.token: (scene.decisions.get(one.pool, ""), reasons.get(one.pool, "")) for one in open_}
        self._orders = {token: self._orders.get(token, order) for token, order in new.items()}

    def _change(self, id_: str, kind: Kind, by: Actor, reason: str, scene: Scene, **more: Any) -> FleetEvent:
        told = self._told[id_]
        self._told[id_] = replace(told, kinds=told.kinds | {kind})
        return FleetEvent(
            at=scene.reading.at,
            kind=kind,
            pool=told.pool,
            worker_id=id_,
            offering=told.offering,
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
            return "itself", "its heartbeat stands still"
        case "boot_failed":
            return "itself", f"it was not ready {worker.age_s:.0f} s after its launch{_said(beat)}"
        case "orphan":
            return "itself", _STRAY
        case _:
            return "itself", _finished(beat)


def _end(told: _Told, beat: Heartbeat | None, ended: str) -> tuple[Kind, Actor, str]:
    """What became of one that is gone, and that no controller ended. `ended`: how, as its fleet says."""
    how = f": {ended}" if ended else ""
    if beat and beat.state is WorkerState.DRAINED:
        return "drained", "itself", _finished(beat)
    if "interrupted" in told.kinds:
        return "gone", "owner", "its machine was taken away"
    if not told.kinds & {"ready", "asked_to_drain"}:
        return "boot_failed", "itself", f"it ended before it was ready{_said(beat) or how}"
    if told.offering.startswith(PROCESS.type):
        return "gone", "itself", f"its process ended, and no controller had ended it{how}"
    return "gone", "owner", f"its machine was ended, and by no controller{how}"


def _finished(beat: Heartbeat | None) -> str:
    return f"it ended in the middle of work: {beat.ended_by}" if beat and beat.ended_by else _FINISHED


def _said(beat: Heartbeat | None) -> str:
    return f", it said: {beat.notice}" if beat and beat.notice else ""


def _words(instance: Instance) -> str:
    process = instance.type == PROCESS.type
    return instance.type if process else str(Offering(instance.type, instance.zone, instance.market))
