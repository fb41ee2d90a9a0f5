"""The heartbeats of workers, and a reader that follows a large fleet at little cost.

1. A listing shows which heartbeats changed since they were last read. Only these are fetched, many at once.
2. One read fetches a limited number: first all new workers, then the workers that were skipped most often.
3. A heartbeat that changed and was not fetched counts as its last content with a higher `seq`: the worker lives.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum

from pydantic import BaseModel, ConfigDict, ValidationError

from core.errors import NotFound
from core.storage.ports import Etag, ObjectInfo, ObjectStore

_AT_ONCE = 32
"""Heartbeats that are fetched at the same time."""
_FEW = 4
"""Up to this many are read one after the other: a thread would cost more than it saves."""
_PER_LOOK = 128
"""The most heartbeats that one read fetches, beside new ones. Each fetch over the network costs a millisecond of work,
and for a fleet of a thousand, heartbeats from a few reads ago are good enough."""


class FleetObject(BaseModel):
    """An object of the roster. Fields of newer versions are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


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


class BootTimings(FleetObject):
    """Seconds from the launch to the end of each phase."""

    process: float
    imports: float
    weights: float
    first_inference: float
    ready: float


class WorkerSizes(FleetObject):
    """How much a worker does at once: as its settings say, or as it chose itself for `auto`."""

    batch: int
    """Images that its tagger gets together, at most."""
    prefetch: int
    """Messages it may hold."""
    receive: int
    """Requests for messages under way, as the next three are threads of their stages."""
    fetch: int
    decode: int
    finish: int

    def __str__(self) -> str:
        threads = f"{self.receive} receive, {self.fetch} fetch, {self.decode} decode, {self.finish} finish"
        return f"batches of {self.batch}, at most {self.prefetch} messages; threads: {threads}"


class Heartbeat(FleetObject):
    """A worker's report. `seq` grows with each beat: its change shows that the worker lives, without any clock."""

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
    """Seconds in which it had work; images_done / busy_seconds is the throughput."""
    rate: float = 0.0
    """Images/s over about the last ten seconds of work; 0 before the first."""
    boot: BootTimings | None = None
    engine: str = ""
    rss_bytes: int = 0
    notice: str = ""
    """The problem that holds the worker up, in a sentence: its store is unavailable, its weights are damaged."""
    ended_by: str = ""
    """The error that ended it during work, in a sentence; empty while it works, and after a drain."""
    leaving: str = ""
    """Why the provider takes its machine away (such as a spot notice); empty while it does not."""
    at_risk: str = ""
    """Why the provider may take its machine away soon. The worker continues meanwhile."""
    managed: bool | None = None
    """Whether a fleet launched it and may end it. A worker started by hand ends by itself, on a drain request. None:
    unknown."""
    sizes: WorkerSizes | None = None
    """None until it takes work, and of older versions."""
    log_lines_dropped: int = 0
    """Lines of its log that could not be written: the disk is full, or nobody reads them."""


@dataclass(frozen=True, slots=True)
class Heard:
    """A heartbeat with its etag: as it was read, or with `seq` raised for each change that was not fetched."""

    etag: Etag
    beat: Heartbeat | None
    passed: int = 0
    """Changes that were seen and not fetched."""


def _grown(before: Heard, etag: Etag) -> Heard:
    """Raise `seq` by one. Each observed change is at least one beat, so the true `seq` is at least this high."""
    beat = before.beat and before.beat.model_copy(update={"seq": before.beat.seq + 1})
    return Heard(etag, beat, before.passed + 1)


class HeartbeatReader:
    """Reads heartbeats, and remembers them. Safe for several threads."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self._heard: dict[str, Heard] = {}

    def read(self, listed: Sequence[ObjectInfo]) -> list[Heartbeat]:
        """Return the heartbeats in the listing: fetch all new ones and a limited number of changed ones."""
        heard = self._heard
        new = [info.key for info in listed if info.key not in heard]
        changed = {info.key: info.etag for info in listed if info.key in heard and heard[info.key].etag != info.etag}
        behind = [info.key for info in listed if info.key in changed or (info.key in heard and heard[info.key].passed)]
        behind.sort(key=lambda key: -heard[key].passed)
        due = new + behind[: max(0, _PER_LOOK - len(new))]
        fetched = dict(zip(due, self._fetch_all(due), strict=True))
        passed = {key: _grown(heard[key], etag) for key, etag in changed.items() if key not in fetched}
        known: dict[str, Heard | None] = {**heard, **passed, **fetched}
        now = {info.key: known[info.key] for info in listed}
        self._heard = {key: one for key, one in now.items() if one is not None}
        return [one.beat for one in self._heard.values() if one.beat is not None]

    def _fetch_all(self, keys: Sequence[str]) -> list[Heard | None]:
        if len(keys) <= _FEW:
            return [self.fetch(key) for key in keys]
        with ThreadPoolExecutor(min(_AT_ONCE, len(keys))) as pool:
            return list(pool.map(self.fetch, keys))

    def fetch(self, key: str) -> Heard | None:
        """Return one heartbeat, None if it is gone. An unreadable one has no `beat`, so it is not fetched again."""
        try:
            blob = self._store.get(key)
        except NotFound:
            return None
        try:
            return Heard(blob.etag, Heartbeat.model_validate_json(blob.data))
        except ValidationError:
            return Heard(blob.etag, None)
