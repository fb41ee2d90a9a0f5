"""How controller, workers and web tier know of each other: small JSON objects kept in the store under `fleet/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from core.errors import NotFound
from core.fleet.decisions import DecisionHistory, DecisionRecord
from core.fleet.events import FleetEvent, FleetEvents
from core.storage import layout
from core.storage.ports import Etag, ObjectInfo, ObjectStore


class WorkerState(StrEnum):
    """starting → warming → idle ⇄ busy → draining → drained"""

    STARTING = "starting"
    WARMING = "warming"
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"
    DRAINED = "drained"

    ready: bool

    def __init__(self, name: str) -> None:
        self.ready = name in ("idle", "busy")


class _Object(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


Role = Literal["collector", "controller"]

K = TypeVar("K", bound=BaseModel)


class BootTimings(_Object):
    """Seconds from the launch to the end of each phase."""

    process: float
    imports: float
    weights: float
    first_inference: float
    ready: float


class Heartbeat(_Object):
    """What a worker says of itself. `seq` grows with each beat: a reader tells life by its change, not by clocks."""

    worker_id: str
    pool: str
    tagger: str
    state: WorkerState
    seq: int
    at: float
    state_since: float
    started_at: float
    held: int = 0
    """Messages in flight that this worker holds, from receipt to acknowledgement."""
    images_done: int = 0
    images_failed: int = 0
    busy_seconds: float = 0.0
    """Time spent with work in hand; images_done / busy_seconds is the throughput."""
    rate: float = 0.0
    """Images/s over the last ten seconds or so of work; 0 before the first."""
    boot: BootTimings | None = None
    engine: str = ""
    rss_bytes: int = 0
    notice: str = ""
    """What the worker failed at, in a sentence: its store is unavailable, its weights are damaged."""
    ended_by: str = ""
    """The error that ended it in the middle of work, in a sentence; empty while it works, and after a drain."""
    leaving: str = ""
    """Why its machine is being taken away (a spot notice, say); empty while it is not."""
    at_risk: str = ""
    """Why its machine may be taken away before long; it works on meanwhile."""
    managed: bool | None = None
    """A fleet launched it, and may end it; False for one by hand, which ends when it is asked to. None: not known."""
    log_lines_dropped: int = 0
    """Lines of its log that could not be written: the disk is full, or nobody reads them."""


class RoleBeat(_Object):
    """A sign of life of the collector or the controller, whichever process of that role wrote last."""

    role: Role
    id: str
    """Of the process, new at each start."""
    seq: int
    at: float
    step: str = ""
    """What its main loop is at."""
    step_s: float = 0.0
    """And for how long, by its own clock."""
    limit_s: float = 0.0
    """A step that takes longer hangs; 0 for one that may take any time."""
    ended: bool = False
    """It was stopped, and ended in order."""
    log_lines_dropped: int = 0


class PoolStatus(_Object):
    """Which tagger a pool really serves; `notice` says, in sentences for people, why it is not the wanted one."""

    pool: str
    wanted: str
    serves: str
    state: Literal["preparing", "ready", "failed"]
    notice: str = ""
    at: float


class Cap(_Object):
    """What an operator set in place of `controller.max_workers`."""

    max_workers: Annotated[int, Field(ge=0)]


_AT_ONCE = 32
_FEW = 4
"""So many objects are read one after the other: a thread would cost more than it saves."""


_AT_A_LOOK = 128
"""Heartbeats that are fetched at most for one look, beside new ones: a fetch over the network costs a millisecond of
work, and a fleet of a thousand is judged as well by what most of it said a few looks ago."""


@dataclass(frozen=True, slots=True)
class _Heard:
    """A heartbeat, as it was read under its etag, or as it must be by now."""

    etag: Etag
    beat: Heartbeat | None
    passed: int = 0
    """Changes of it that were seen and not fetched."""


def _grown(before: _Heard, etag: Etag) -> _Heard:
    """Each change that was seen is a beat or more, so the true `seq` will be beyond this one when it is fetched."""
    beat = before.beat and before.beat.model_copy(update={"seq": before.beat.seq + 1})
    return _Heard(etag, beat, before.passed + 1)


@dataclass(frozen=True, slots=True)
class Glance:
    """What a controller looks at in each tick."""

    workers: list[Heartbeat]
    drain_requests: frozenset[str]
    paused: bool
    cap: int | None = None
    """An operator's, in place of the settings'."""
    cap_unread: bool = False
    """There is one that cannot be read: `cap` is the last one that could."""


class Roster:
    """Reads and writes the fleet's objects. Unreadable ones are passed over: a newer version may have written them.

    Heartbeats are read frugally: a listing tells which of them changed since this object read them last, and only
    those are fetched, many at once. Safe for several threads.
    """

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._heard: dict[str, _Heard] = {}
        self._cap: int | None = None

    def beat(self, heartbeat: Heartbeat) -> None:
        self._put(layout.worker_key(heartbeat.worker_id), heartbeat)

    def workers(self) -> list[Heartbeat]:
        return self._heartbeats(list(self._store.list(layout.WORKERS)))

    def glance(self) -> Glance:
        """The heartbeats, the drain wishes, the pause and the cap, by one listing."""
        found = list(self._store.list(layout.FLEET))
        cap, cap_unread = self._read_cap(there=any(info.key == layout.CAP for info in found))
        wishes = (info.key.removeprefix(layout.DRAINS) for info in found if info.key.startswith(layout.DRAINS))
        return Glance(
            workers=self._heartbeats([info for info in found if info.key.startswith(layout.WORKERS)]),
            drain_requests=frozenset(wishes),
            paused=any(info.key == layout.PAUSED for info in found),
            cap=cap,
            cap_unread=cap_unread,
        )

    def beat_role(self, beat: RoleBeat) -> None:
        self._put(layout.role_key(beat.role), beat)

    def roles(self) -> list[RoleBeat]:
        """The latest sign of life of the collector and the controller; one that never ran here has none."""
        return list(self._all(layout.ROLES, RoleBeat))

    def forget_silent(self, last: Mapping[str, int]) -> list[str]:
        """Remove what there is of workers whose latest beat still has the `seq` that is given; returns their ids.

        One that beats in this very moment may lose that beat; its next one is a heartbeat like any other.
        """
        silent = []
        for id_, seq in last.items():
            heard = self._fetch(layout.worker_key(id_))
            if heard is not None and heard.beat is not None and heard.beat.seq == seq:
                silent.append(id_)
        self.forget(silent)
        return silent

    def forget(self, worker_ids: list[str]) -> None:
        """Remove the heartbeat and the drain wish of workers that are gone."""
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
        """Changes whenever a live controller renews its lease; None when there never was one."""
        try:
            return self._store.get(layout.CONTROLLER).etag
        except NotFound:
            return None

    def set_pool(self, status: PoolStatus) -> None:
        self._put(layout.pool_key(status.pool), status)

    def pools(self) -> list[PoolStatus]:
        return list(self._all(layout.POOLS, PoolStatus))

    def record_decision(self, decision: DecisionRecord) -> None:
        """Replace the pool's latest decision. Raises Unavailable."""
        self._put(f"{layout.DECISIONS}{decision.pool}.json", decision)

    def decisions(self) -> list[DecisionRecord]:
        return list(self._all(layout.DECISIONS, DecisionRecord))

    def keep_past_decisions(self, records: Sequence[DecisionRecord]) -> None:
        """Replace the decision log. Raises Unavailable."""
        self._put(layout.HISTORY, DecisionHistory(records=tuple(records)))

    def past_decisions(self) -> tuple[DecisionRecord, ...]:
        """Return the decision log, oldest first; without what a newer version wrote and this one cannot read."""
        try:
            return DecisionHistory.model_validate_json(self._store.get(layout.HISTORY).data).records
        except (NotFound, ValidationError):
            return ()

    def keep_events(self, events: Sequence[FleetEvent]) -> None:
        """Replace the last events of the fleet. Raises Unavailable."""
        self._put(layout.CHANGES, FleetEvents(changes=tuple(events)))

    def events(self) -> tuple[FleetEvent, ...]:
        """Return the last events of the fleet, oldest first; without those that this version cannot read."""
        try:
            return FleetEvents.model_validate_json(self._store.get(layout.CHANGES).data).changes
        except (NotFound, ValidationError):
            return ()

    def set_cap(self, max_workers: int | None) -> None:
        """The controller's cap from its next tick on; None goes back to the settings'."""
        if max_workers is None:
            self._store.delete([layout.CAP])
        else:
            self._put(layout.CAP, Cap(max_workers=max_workers))

    def cap(self) -> int | None:
        """An operator's. Where it cannot be read it is the last one that this object read."""
        return self._read_cap(there=True)[0]

    def pause(self) -> None:
        """From now on the controller launches and drains nothing, until `resume`."""
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
        """And whether there is one that cannot be read."""
        try:
            self._cap = Cap.model_validate_json(self._store.get(layout.CAP).data).max_workers if there else None
        except NotFound:
            self._cap = None
        except ValidationError:
            return self._cap, True
        return self._cap, False

    def _heartbeats(self, listed: Sequence[ObjectInfo]) -> list[Heartbeat]:
        """Those that `listed` tells of, fetching what changed: new ones all, of the others so many at a look.

        One that changed and was not fetched is told by its last content, with a `seq` that has grown: it lives.
        """
        heard = self._heard
        new = [info.key for info in listed if info.key not in heard]
        changed = {info.key: info.etag for info in listed if info.key in heard and heard[info.key].etag != info.etag}
        behind = [info.key for info in listed if info.key in changed or (info.key in heard and heard[info.key].passed)]
        behind.sort(key=lambda key: -heard[key].passed)
        due = new + behind[: max(0, _AT_A_LOOK - len(new))]
        fetched = dict(zip(due, self._fetched(due), strict=True))
        passed = {key: _grown(heard[key], etag) for key, etag in changed.items() if key not in fetched}
        known: dict[str, _Heard | None] = {**heard, **passed, **fetched}
        now = {info.key: known[info.key] for info in listed}
        self._heard = {key: one for key, one in now.items() if one is not None}
        return [one.beat for one in self._heard.values() if one.beat is not None]

    def _fetched(self, keys: Sequence[str]) -> list[_Heard | None]:
        if len(keys) <= _FEW:
            return [self._fetch(key) for key in keys]
        with ThreadPoolExecutor(min(_AT_ONCE, len(keys))) as pool:
            return list(pool.map(self._fetch, keys))

    def _fetch(self, key: str) -> _Heard | None:
        """None where it is gone; without a heartbeat where it cannot be read, so that it is not fetched again."""
        try:
            blob = self._store.get(key)
        except NotFound:
            return None
        try:
            return _Heard(blob.etag, Heartbeat.model_validate_json(blob.data))
        except ValidationError:
            return _Heard(blob.etag, None)

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
