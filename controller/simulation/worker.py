"""A simulated worker: the instance, the process in it and what it says of itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from controller.simulation.queue import Portion
from core.fleet.roster import Heartbeat, WorkerState
from core.storage.ports import Instance, InstanceState

_ALIVE = frozenset({InstanceState.PENDING, InstanceState.RUNNING})


@dataclass(slots=True, eq=False)
class SimulatedWorker:
    instance: Instance
    listed_at: float
    speed: float
    """Images/s."""
    heartbeat_s: float
    state: WorkerState = WorkerState.STARTING
    since: float = 0.0
    ready_s: float | None = None
    """From its launch to ready; None before that."""
    held: list[Portion] = field(default_factory=list)
    holds: int = 0
    done: int = 0
    busy_s: float = 0.0
    hung_at: float | None = None
    billed_until: float | None = None
    """When its bill ended; None while it grows."""
    asked: bool = False
    """To drain: it takes no more work."""
    said: dict[str, Any] = field(default_factory=dict)
    """Fields of its heartbeat."""
    place: int = -1
    """Where it stands among the idle; -1 where it does not."""

    @property
    def id(self) -> str:
        return self.instance.id

    @property
    def alive(self) -> bool:
        return self.instance.state in _ALIVE

    @property
    def working(self) -> bool:
        """It has images in hand and would finish them."""
        return self.alive and self.hung_at is None and self.holds > 0

    def heartbeat(self, now: float) -> Heartbeat:
        """Its last one. Made without the checks of a parsed one: a simulated day has millions."""
        last = now if self.hung_at is None else self.hung_at
        fields = self.said.copy()
        fields["seq"] = int(last / self.heartbeat_s)
        fields["at"] = last
        fields["state"] = self.state
        fields["state_since"] = self.since
        fields["held"] = self.holds
        fields["images_done"] = self.done
        fields["busy_seconds"] = self.busy_s
        beat = Heartbeat.__new__(Heartbeat)
        object.__setattr__(beat, "__dict__", fields)
        return beat


def what_stays(id_: str, pool: str, launched_at: float) -> dict[str, Any]:
    """The fields of a worker's heartbeat that are the same in all of them, and room for the others."""
    return Heartbeat(
        worker_id=id_,
        pool=pool,
        tagger="simulated",
        state=WorkerState.STARTING,
        seq=0,
        at=0.0,
        state_since=0.0,
        started_at=launched_at,
    ).__dict__.copy()
