"""The roster, through which controller, workers and web tier know each other: small JSON objects under `fleet/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from core.errors import NotFound
from core.fleet.decisions import DecisionHistory, DecisionRecord
from core.fleet.events import FleetEvent, FleetEvents
from core.fleet.heartbeats import BootTimings as BootTimings  # part of this module's interface, and the next three
from core.fleet.heartbeats import FleetObject, HeartbeatReader
from core.fleet.heartbeats import Heartbeat as Heartbeat
from core.fleet.heartbeats import WorkerSizes as WorkerSizes
from core.fleet.heartbeats import WorkerState as WorkerState
from core.storage import layout
from core.storage.ports import Etag, ObjectStore

Role = Literal["collector", "controller"]

K = TypeVar("K", bound=BaseModel)


class RoleBeat(FleetObject):
    """A heartbeat of the collector or the controller. The last writer of a role wins."""

    role: Role
    id: str
    """Of the process, new at each start."""
    seq: int
    at: float
    step: str = ""
    """The name of the step that its main loop is at."""
    step_s: float = 0.0
    """Seconds in that step, by its own clock."""
    limit_s: float = 0.0
    """A step that takes longer hangs; 0 if it may take any time."""
    ended: bool = False
    """It was stopped, and ended in order."""
    log_lines_dropped: int = 0


class PoolStatus(FleetObject):
    """The tagger that a pool serves; `notice` says, in sentences for people, why it is not the wanted one.

    `offer` tells operators of a command that may make it faster.
    """

    pool: str
    wanted: str
    serves: str
    state: Literal["preparing", "ready", "failed"]
    notice: str = ""
    offer: str = ""
    at: float


class Cap(FleetObject):
    """An operator's cap, which replaces `controller.max_workers`."""

    max_workers: Annotated[int, Field(ge=0)]


@dataclass(frozen=True, slots=True)
class Glance:
    """Everything that the controller reads from the roster in one tick."""

    workers: list[Heartbeat]
    drain_requests: frozenset[str]
    paused: bool
    cap: int | None = None
    """An operator's cap, which replaces the settings' cap."""
    cap_unread: bool = False
    """The stored cap cannot be read; `cap` is the last one that could."""


class Roster:
    """Reads and writes the fleet's objects. Skips unreadable ones: a newer version may have written them.

    Safe for several threads.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._heartbeats = HeartbeatReader(store)
        self._cap: int | None = None

    def beat(self, heartbeat: Heartbeat) -> None:
        self._put(layout.worker_key(heartbeat.worker_id), heartbeat)

    def workers(self) -> list[Heartbeat]:
        return self._heartbeats.read(list(self._store.list(layout.WORKERS)))

    def glance(self) -> Glance:
        """Read heartbeats, drain requests, the pause and the cap by one listing."""
        found = list(self._store.list(layout.FLEET))
        cap, cap_unread = self._read_cap(there=any(info.key == layout.CAP for info in found))
        drains = (info.key.removeprefix(layout.DRAINS) for info in found if info.key.startswith(layout.DRAINS))
        return Glance(
            workers=self._heartbeats.read([info for info in found if info.key.startswith(layout.WORKERS)]),
            drain_requests=frozenset(drains),
            paused=any(info.key == layout.PAUSED for info in found),
            cap=cap,
            cap_unread=cap_unread,
        )

    def beat_role(self, beat: RoleBeat) -> None:
        self._put(layout.role_key(beat.role), beat)

    def roles(self) -> list[RoleBeat]:
        """Return the latest heartbeats of the collector and the controller, if they ever ran here."""
        return list(self._all(layout.ROLES, RoleBeat))

    def forget_silent(self, last: Mapping[str, int]) -> list[str]:
        """Remove the objects of workers whose latest beat still has the given `seq`. Returns their ids.

        A worker that beats at this very moment may lose that beat; its next one counts as usual.
        """
        silent = []
        for id_, seq in last.items():
            heard = self._heartbeats.fetch(layout.worker_key(id_))
            if heard is not None and heard.beat is not None and heard.beat.seq == seq:
                silent.append(id_)
        self.forget(silent)
        return silent

    def forget(self, worker_ids: list[str]) -> None:
        """Remove heartbeats and drain requests of workers that are gone."""
        keys = [key for id_ in worker_ids for key in (layout.worker_key(id_), layout.drain_key(id_))]
        if keys:
            self._store.delete(keys)

    def request_drain(self, worker_id: str) -> None:
        self._store.put(layout.drain_key(worker_id), b"")

    def drain_requested(self, worker_id: str) -> bool:
        try:
            self._store.get(layout.drain_key(worker_id))
        except NotFound:
            return False
        return True

    def drain_requests(self) -> set[str]:
        return {info.key.removeprefix(layout.DRAINS) for info in self._store.list(layout.DRAINS)}

    def controller_version(self) -> Etag | None:
        """Return an etag that changes when a controller renews its lease; None if there never was one."""
        try:
            return self._store.get(layout.CONTROLLER).etag
        except NotFound:
            return None

    def set_pool(self, status: PoolStatus) -> None:
        self._put(layout.pool_key(status.pool), status)

    def pools(self) -> list[PoolStatus]:
        return list(self._all(layout.POOLS, PoolStatus))

    def record_decision(self, decision: DecisionRecord) -> None:
        """Store the latest decision of a pool. Raises Unavailable."""
        self._put(f"{layout.DECISIONS}{decision.pool}.json", decision)

    def decisions(self) -> list[DecisionRecord]:
        return list(self._all(layout.DECISIONS, DecisionRecord))

    def keep_past_decisions(self, records: Sequence[DecisionRecord]) -> None:
        """Replace the decision log. Raises Unavailable."""
        self._put(layout.HISTORY, DecisionHistory(records=tuple(records)))

    def past_decisions(self) -> tuple[DecisionRecord, ...]:
        """Return the decision log, oldest first, without records of newer versions that this one cannot read."""
        try:
            return DecisionHistory.model_validate_json(self._store.get(layout.HISTORY).data).records
        except (NotFound, ValidationError):
            return ()

    def keep_events(self, events: Sequence[FleetEvent]) -> None:
        """Replace the last events of the fleet. Raises Unavailable."""
        self._put(layout.CHANGES, FleetEvents(changes=tuple(events)))

    def events(self) -> tuple[FleetEvent, ...]:
        """Return the last events of the fleet, oldest first, without events that this version cannot read."""
        try:
            return FleetEvents.model_validate_json(self._store.get(layout.CHANGES).data).changes
        except (NotFound, ValidationError):
            return ()

    def set_cap(self, max_workers: int | None) -> None:
        """Set the cap for the controller's next tick; None returns to the settings' cap."""
        if max_workers is None:
            self._store.delete([layout.CAP])
        else:
            self._put(layout.CAP, Cap(max_workers=max_workers))

    def cap(self) -> int | None:
        """Return an operator's cap. If it cannot be read, return the last one that this object read."""
        return self._read_cap(there=True)[0]

    def pause(self) -> None:
        """Keep the controller from launching and draining until `resume`."""
        self._store.put(layout.PAUSED, b"")

    def resume(self) -> None:
        self._store.delete([layout.PAUSED])

    def paused(self) -> bool:
        try:
            self._store.get(layout.PAUSED)
        except NotFound:
            return False
        return True

    def _read_cap(self, *, there: bool) -> tuple[int | None, bool]:
        """Return the cap, and whether the stored one cannot be read. `there`: whether a cap may be stored."""
        try:
            self._cap = Cap.model_validate_json(self._store.get(layout.CAP).data).max_workers if there else None
        except NotFound:
            self._cap = None
        except ValidationError:
            return self._cap, True
        return self._cap, False

    def _put(self, key: str, value: BaseModel) -> None:
        self._store.put(key, value.model_dump_json().encode(), content_type="application/json")

    def _all(self, prefix: str, kind: type[K]) -> list[K]:
        found = []
        for info in self._store.list(prefix):
            try:
                found.append(kind.model_validate_json(self._store.get(info.key).data))
            except (NotFound, ValidationError):
                continue
        return found
