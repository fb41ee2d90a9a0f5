"""A simulated worker: the instance, the process on it and the heartbeat that it sends."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from controller.simulation.queue import Portion
from core.fleet.roster import Heartbeat, WorkerState
from core.storage.ports import Instance, InstanceState, Offering

_ALIVE = frozenset({InstanceState.PENDING, InstanceState.RUNNING})


@dataclass(slots=True, eq=False)
class SimulatedWorker:
    """State only; `cloud.Cloud` changes it. Two are equal only where they are the same."""

    instance: Instance
    listed_at: float
    speed: float
    """Images/s."""
    heartbeat_s: float
    state: WorkerState = WorkerState.STARTING
    since: float = 0.0
    ready_s: float | None = None
    """From its launch to ready; None before that. Only a worker that has been ready sends heartbeats."""
    held: list[Portion] = field(default_factory=list)
    holds: int = 0
    done: int = 0
    busy_s: float = 0.0
    hung_at: float | None = None
    billed_until: float | None = None
    """When its bill ended; None while it grows."""
    draining: bool = False
    """Takes no more work."""
    breaks: str = ""
    """The error that ends it in its next batch."""
    process: int = 0
    """Grows with each restart of its process, and outdates what was scheduled for the one before."""
    first_seq: int = 0
    fields: dict[str, Any] = field(default_factory=dict)
    """The fields of its heartbeat that seldom change."""
    idle_index: int = -1
    """Where it stands among the idle; -1 where it does not."""

    @property
    def id(self) -> str:
        return self.instance.id

    @property
    def alive(self) -> bool:
        return self.instance.state in _ALIVE

    @property
    def stopping(self) -> bool:
        return self.instance.state is InstanceState.STOPPING

    @property
    def gone(self) -> bool:
        return self.instance.state is InstanceState.GONE

    @property
    def offering(self) -> Offering:
        one = self.instance
        return Offering(one.type, one.zone, one.market, one.price)

    @property
    def functional(self) -> bool:
        """It runs and does not hang."""
        return self.alive and self.hung_at is None

    @property
    def working(self) -> bool:
        """It holds images and would finish them."""
        return self.functional and self.holds > 0

    def heartbeat(self, now: float) -> Heartbeat:
        """Its last one. Skips a parsed one's validation: a simulated day has millions."""
        last = now if self.hung_at is None else self.hung_at
        fields = self.fields.copy()
        fields["seq"] = int(last / self.heartbeat_s) - self.first_seq
        fields["at"] = last
        fields["state"] = self.state
        fields["state_since"] = self.since
        fields["held"] = self.holds
        fields["images_done"] = self.done
        fields["busy_seconds"] = self.busy_s
        beat = Heartbeat.__new__(Heartbeat)
        object.__setattr__(beat, "__dict__", fields)
        return beat


def heartbeat_fields(id_: str, pool: str, launched_at: float) -> dict[str, Any]:
    """Every field of a worker's first heartbeat."""
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
