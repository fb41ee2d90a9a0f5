"""Turn snapshots of the deployment into lines for the terminal of `tagfleet up`. No I/O.

The controller's recorded events say what happened to a worker, and why. Heartbeats add only what events lack: a
worker's own notices, how many images it finished, and how many it held.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from core.fleet.decisions import DecisionRecord
from core.fleet.events import FleetEvent, Kind
from core.fleet.roster import Heartbeat, PoolStatus
from tagfleet.client import Batch

_DONE = ("completed", "cancelled", "expired")
_LINES: Mapping[Kind, str] = {
    "ready": "worker {id} is ready {reason}",
    "drained": "worker {id} stopped: {reason}",
    "interrupted": "worker {id} is being taken away: {reason}",
    "lost": "worker {id} is lost: {reason}",
    "boot_failed": "worker {id} did not start: {reason}",
    "gone": "worker {id} is gone: {reason}",
    "ended": "worker {id} was ended: {reason}",
}
"""The lines of events that are reported. A launch is reported through the decision behind it."""
_EXPLAINED: frozenset[Kind] = frozenset({"drained", "lost", "boot_failed", "orphan"})
"""After one of these events, the end of the worker is not reported again."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of the deployment at one moment. `batches` is None if the web tier did not answer."""

    workers: Sequence[Heartbeat] = ()
    pools: Sequence[PoolStatus] = ()
    decisions: Sequence[DecisionRecord] = ()
    batches: Sequence[Batch] | None = None
    events: Sequence[FleetEvent] = ()
    """The last events of the fleet, oldest first."""


@dataclass
class ConsoleReporter:
    """Reports what is new since the previous snapshot.

    In the first snapshot, events, decisions and finished batches are old; pools, notices and open batches are new.
    """

    _seen: Snapshot | None = None
    _beats: dict[str, Heartbeat] = field(default_factory=dict)
    """The last heartbeat of each worker, including workers that are gone."""
    _notices: dict[str, str] = field(default_factory=dict)
    _done: set[str] | None = None
    _begun: set[str] = field(default_factory=set)

    def report(self, snapshot: Snapshot) -> list[str]:
        """Return the lines to print, without line ends."""
        before, self._seen = self._seen or Snapshot(decisions=snapshot.decisions, events=snapshot.events), snapshot
        self._beats |= {worker.worker_id: worker for worker in snapshot.workers}
        lines = [
            *self._pools(before, snapshot),
            *_decisions(before, snapshot),
            *self._workers(snapshot),
            *self._events(before, snapshot),
            *self._batches(snapshot),
        ]
        present = {worker.worker_id for worker in snapshot.workers} | {event.worker_id for event in snapshot.events}
        self._beats = {id_: beat for id_, beat in self._beats.items() if id_ in present}
        return lines

    def _pools(self, before: Snapshot, snapshot: Snapshot) -> Iterator[str]:
        states = {pool.pool: pool.state for pool in before.pools}
        for pool in snapshot.pools:
            old = states.get(pool.pool)
            if pool.state == "preparing" and old != "preparing":
                yield f"pool {pool.pool}: getting {pool.serves} ready; the first time this may take a minute"
            if pool.notice and self._is_news(pool.pool, pool.notice):
                yield f"pool {pool.pool}: {pool.notice}"
            if pool.state == "ready" and old == "preparing":
                yield f"pool {pool.pool}: {pool.serves} is ready"
            if pool.offer and self._is_news(f"offer to {pool.pool}", pool.offer):
                yield f"pool {pool.pool}: {pool.offer}"

    def _workers(self, snapshot: Snapshot) -> Iterator[str]:
        for worker in snapshot.workers:
            if worker.notice and self._is_news(worker.worker_id, worker.notice):
                yield f"worker {worker.worker_id}: {worker.notice}"

    def _events(self, before: Snapshot, snapshot: Snapshot) -> Iterator[str]:
        reported, explained = set(before.events), set()
        for event in snapshot.events:
            if event.kind in _EXPLAINED:
                explained.add(event.worker_id)
            is_news = event not in reported and not (event.kind == "ended" and event.worker_id in explained)
            if is_news and event.kind in _LINES:
                line = _LINES[event.kind].format(id=event.worker_id, reason=event.reason)
                yield line + _images_of(event, self._beats.get(event.worker_id))

    def _batches(self, snapshot: Snapshot) -> Iterator[str]:
        if snapshot.batches is None:
            return
        first, done = self._done is None, self._done or set()
        self._done = {batch.id for batch in snapshot.batches if batch.status in _DONE}
        for batch in reversed(snapshot.batches):  # oldest first
            if batch.id in self._done - done and not first:
                failed = f", {batch.failed} failed" if batch.failed else ""
                yield f"batch {batch.id}: {batch.completed - batch.failed} of {batch.total} tagged{failed}"
            elif batch.id not in self._done | self._begun and batch.total:
                self._begun.add(batch.id)
                yield f"batch {batch.id}: images are coming in"
        self._begun -= self._done

    def _is_news(self, about: str, notice: str) -> bool:
        if self._notices.get(about) == notice:
            return False
        self._notices[about] = notice
        return True


def _decisions(before: Snapshot, snapshot: Snapshot) -> Iterator[str]:
    reported = {decision.pool: decision.at for decision in before.decisions}
    for decision in snapshot.decisions:
        if reported.get(decision.pool) != decision.at and decision.action.startswith("launch"):
            yield f"pool {decision.pool}: {decision.reason}"


def _images_of(event: FleetEvent, beat: Heartbeat | None) -> str:
    """Return the end of the event's line: what happened to the worker's images, as far as is known."""
    if beat is None:
        return ""
    if event.kind == "drained" and beat.images_done:
        return f" ({_count(beat.images_done)} done)"
    if event.kind in ("lost", "gone") and beat.held:
        goes = "goes" if beat.held == 1 else "go"
        return f"; the {_count(beat.held)} it held {goes} back to the queue"
    return ""


def _count(images: int) -> str:
    return "1 image" if images == 1 else f"{images} images"
