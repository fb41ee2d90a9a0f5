"""What a person at the terminal is told: from two looks at the deployment, the lines that say what changed. No I/O."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from core.fleet.fleet_changes import FleetChange
from core.fleet.roster import DecisionRecord, Heartbeat, PoolStatus, WorkerState
from tagfleet.client import Batch

_DONE = ("completed", "cancelled", "expired")
_ENDS = ("drained", "lost", "boot_failed", "gone")


@dataclass(frozen=True, slots=True)
class View:
    """One look at the deployment; `batches` is None where the web tier did not answer."""

    workers: Sequence[Heartbeat] = ()
    pools: Sequence[PoolStatus] = ()
    decisions: Sequence[DecisionRecord] = ()
    batches: Sequence[Batch] | None = None
    changes: Sequence[FleetChange] = ()
    """The changelog of the fleet."""


@dataclass
class Narrator:
    """The first view is where the story begins: old workers' boots and old batches are no news; a notice still is."""

    _workers: dict[str, Heartbeat] = field(default_factory=dict)
    _gone: dict[str, Heartbeat] = field(default_factory=dict)
    """Those that were missed at the look before, and of whose end nothing was on record yet."""
    _states: dict[str, str] = field(default_factory=dict)
    _notices: dict[str, str] = field(default_factory=dict)
    _decisions: dict[str, float] | None = None
    _done: set[str] | None = None
    _begun: set[str] = field(default_factory=set)

    def lines(self, view: View) -> list[str]:
        return [*self._of_pools(view), *self._of_decisions(view), *self._of_workers(view), *self._of_batches(view)]

    def _of_pools(self, view: View) -> Iterator[str]:
        before, self._states = self._states, {pool.pool: pool.state for pool in view.pools}
        for pool in view.pools:
            old = before.get(pool.pool)
            if pool.state == "preparing" and old != "preparing":
                yield f"pool {pool.pool}: getting {pool.serves} ready; the first time this may take a minute"
            if pool.notice and self._is_news(pool.pool, pool.notice):
                yield f"pool {pool.pool}: {pool.notice}"
            if pool.state == "ready" and old == "preparing":
                yield f"pool {pool.pool}: {pool.serves} is ready"

    def _of_decisions(self, view: View) -> Iterator[str]:
        told = self._decisions
        self._decisions = {decision.pool: decision.at for decision in view.decisions}
        for decision in view.decisions:
            news = told is not None and told.get(decision.pool) != decision.at
            if news and decision.action.startswith("launch"):
                yield f"pool {decision.pool}: {decision.reason}"

    def _of_workers(self, view: View) -> Iterator[str]:
        first, before = self._done is None, self._workers
        self._workers = {worker.worker_id: worker for worker in view.workers}
        for id_, worker in self._workers.items():
            old = before.get(id_)
            if worker.notice and self._is_news(id_, worker.notice):
                yield f"worker {id_}: {worker.notice}"
            if worker.boot and worker.state.ready and not (old and old.boot) and not first:
                yield f"worker {id_} ready after {worker.boot.ready:.1f} s"
            if worker.state is WorkerState.DRAINED and not (old and old.state is WorkerState.DRAINED) and not first:
                yield _stopped(worker)
        yield from self._of_the_gone({id_: before[id_] for id_ in before.keys() - self._workers.keys()}, view)

    def _of_the_gone(self, gone: Mapping[str, Heartbeat], view: View) -> Iterator[str]:
        """One that held images, or was starting, may have drained since: the changelog tells, a look later at most."""
        missed = {id_: worker for id_, worker in self._gone.items() if id_ not in self._workers}
        self._gone = {}
        ended = {change.worker_id: change for change in view.changes if change.kind in _ENDS}
        for id_, worker in {**gone, **missed}.items():
            self._notices.pop(id_, None)
            if worker.state is WorkerState.DRAINED:
                continue
            starting = worker.state in (WorkerState.STARTING, WorkerState.WARMING)
            if not worker.held and not starting:
                yield _stopped(worker)
            elif id_ not in ended and id_ not in missed:
                self._gone[id_] = worker
            elif id_ in ended and ended[id_].kind == "drained":
                yield f"worker {id_} stopped: {ended[id_].reason}"
            elif worker.held:
                yield f"worker {id_} was lost; the {_images(worker.held)} it held go back to the queue"
            else:
                why = ended[id_].reason.partition("it ended before it was ready")[2] if id_ in ended else ""
                yield f"worker {id_} was lost while it started{why}"

    def _of_batches(self, view: View) -> Iterator[str]:
        if view.batches is None:
            return
        first, done = self._done is None, self._done or set()
        self._done = {batch.id for batch in view.batches if batch.status in _DONE}
        for batch in reversed(view.batches):  # oldest first
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


def _stopped(worker: Heartbeat) -> str:
    if worker.ended_by:
        return f"worker {worker.worker_id} ended in the middle of work: {worker.ended_by}"
    return f"worker {worker.worker_id} stopped: nothing left to do ({_images(worker.images_done)} done)"


def _images(count: int) -> str:
    return "1 image" if count == 1 else f"{count} images"
