"""The controller's vocabulary: what it observes, what it may do, what it remembers and what it plans. Values only.

1. Times are durations that grow from one observation to the next, never moments. Two clocks are never compared, and a
   clock that jumps changes nothing.
2. Observations and plans are recorded as JSON, and memories are stored in the ledger. JSON keeps the names of earlier
   versions: a renamed field has its old name as an alias.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from config.settings import ControllerSettings
from core.fleet.decisions import Decision
from core.storage.ports import PROCESS, Depth, Offering

_BY_ALIAS = ConfigDict(serialize_by_alias=True, validate_by_alias=True, validate_by_name=True)

# --- what is observed -------------------------------------------------------------------------


class Stage(StrEnum):
    """requested → pending → booting → warming → idle ⇄ busy → draining → drained → terminating → gone

    Aside from that row:

    - `boot_failed`: not ready by its deadline, or gone before it was ready
    - `lost`: its heartbeat has stopped
    - `interrupted`: its machine is being taken away
    - `orphan`: an instance of ours that the ledger does not know and that sends no heartbeat. If it sends heartbeats,
      it is adopted at its current stage.
    - `unanswered`: a launch that was requested again and again without an answer. It may have launched something, so
      it is billed, but the policy does not count on it.
    """

    REQUESTED = "requested"
    UNANSWERED = "unanswered"
    PENDING = "pending"
    BOOTING = "booting"
    WARMING = "warming"
    IDLE = "idle"
    BUSY = "busy"
    DRAINING = "draining"
    DRAINED = "drained"
    TERMINATING = "terminating"
    GONE = "gone"
    BOOT_FAILED = "boot_failed"
    LOST = "lost"
    INTERRUPTED = "interrupted"
    ORPHAN = "orphan"

    coming: bool
    """It will be ready, as far as is known."""
    ready: bool
    leaving: bool
    """It finishes what it holds and takes nothing more."""

    def __init__(self, name: str) -> None:
        # Attributes, not properties: a large fleet asks for them some thousand times a tick.
        self.coming = name in ("requested", "pending", "booting", "warming")
        self.ready = name in ("idle", "busy")
        self.leaving = name in ("draining", "interrupted")


@dataclass(slots=True)
class Worker:
    """One instance that is not gone, or a launch that was requested and is not listed yet.

    Treat it as immutable. It is not frozen, because each tick creates one for every instance, and creating a frozen one
    takes five times as long.
    """

    id: str
    stage: Stage
    age_s: float = 0.0
    """Since its launch."""
    stage_s: float = 0.0
    """How long it has been idle, asked to drain, or an orphan."""
    held: int = 0
    """Messages in flight that it holds."""
    ours: bool = True
    """False for a worker that was started by hand: it is capacity, but is neither billed nor ended."""
    price: float = 0.0
    """$/h, as offered when it was launched."""


@dataclass(frozen=True, slots=True)
class PoolDelta:
    """The changes in a pool since the previous observation."""

    arrived: float = 0.0
    """Images: growth of the queue plus completions; negative where counts lag."""
    handled: int = 0
    failed: int = 0
    """How many of the handled images ended with an error."""
    throughputs: tuple[float, ...] = ()
    """Images/s of single workers, each over a second of work or more."""
    boots: tuple[float, ...] = ()
    """Seconds from launch to ready of workers that became ready."""
    failures: int = 0
    """Launches refused, and instances that were gone or past their deadline before they were ready."""
    broken: int = 0
    """Workers that ended with an error before they finished one image."""
    notice: str = ""
    """The notice in the last heartbeat of the worker that failed last, or how its fleet says it ended."""
    refused: str = ""
    """Why a launch was refused, in a clause."""
    lasting: bool = False
    """The refusal lasts until somebody removes its cause."""


@dataclass(frozen=True, slots=True)
class PoolView:
    """One pool as a tick sees it."""

    __pydantic_config__ = _BY_ALIAS

    pool: str
    depth: Depth
    workers: tuple[Worker, ...] = ()
    delta: Annotated[PoolDelta, Field(alias="news")] = PoolDelta()
    unread: str = ""
    """Which reading failed, in a clause; the other fields may then be old. Empty if none failed."""
    offerings: tuple[Offering, ...] = (PROCESS,)
    """The offerings that may be launched now, best first; empty if none is available."""
    floor: int = 0
    """Workers that the schedule asks for one boot from now."""
    foreseen: float = 0.0
    """The highest images/s of yesterday, from this time of day to one boot and one slot later."""


@dataclass(frozen=True, slots=True)
class Observation:
    """All pools as one tick sees them."""

    elapsed_s: float
    """Since the previous observation."""
    pools: tuple[PoolView, ...]
    paused: bool = False
    """An operator has paused the fleet."""
    cap: int | None = None
    """An operator's cap, which replaces `max_workers`; None if none is set."""


# --- what is allowed ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings in `[controller]` that decisions depend on, in seconds and images/s."""

    max_workers: int
    drain_goal_s: float
    utilisation: float
    linger_s: float
    stabilisation_s: float
    boot_prior_s: float
    throughput_prior: float
    boot_deadline_s: float
    lost_after_s: float
    drain_deadline_s: float
    breaker_failures: int
    breaker_reset_s: float
    budget_per_hour: float = 0.0
    """$/h that all instances together may cost; 0: any amount."""
    cap_source: Literal["settings", "operator"] = "settings"
    """Who set `max_workers`."""

    def capped(self, cap: int | None) -> Policy:
        """Return the policy under an operator's cap; None leaves the settings' cap."""
        return self if cap is None else replace(self, max_workers=cap, cap_source="operator")


def select_policy(settings: ControllerSettings) -> Policy:
    """Return the settings that decisions depend on, by the names that recordings use."""
    same = settings.model_dump(include=set(Policy.__slots__))
    return Policy(**same, drain_goal_s=settings.backlog_target_s, linger_s=settings.idle_keep_s)


# --- what is remembered -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PoolMemory:
    """The memory that one decision passes to the next. The ledger stores it, so it survives the controller."""

    __pydantic_config__ = _BY_ALIAS

    throughputs: tuple[float, ...] = ()
    boots: tuple[float, ...] = ()
    arrivals: tuple[float, float] = (0.0, 0.0)
    """The two smoothing stages of the arrival rate, images/s."""
    lately: float = 0.0
    """Images/s that arrived within about the last quarter of a drain goal."""
    quiet_s: float = 0.0
    """How long nothing has been outstanding or completed."""
    below_s: float | None = None
    """How long the pool has had more workers than it needs; None if it has not."""
    demand_history: Annotated[tuple[tuple[float, int], ...], Field(alias="ladder")] = ()
    """`Demand` entries of `controller.policy.scale_in`: seconds ago, workers needed."""
    idle_gaps: Annotated[tuple[tuple[float, int], ...], Field(alias="gaps")] = ()
    """`IdleGap` entries of `controller.policy.scale_in`: seconds not needed, workers."""
    starved_s: float | None = None
    """How long the pool has needed a worker and had none; None if it has one or needs none."""
    failures: int = 0
    """Failed boots, refused launches and workers that broke, in a row."""
    broken: int = 0
    """How many of them broke at work. Then only a finished image ends the row, not a boot."""
    retry_in_s: float = 0.0
    """Seconds until the next launch may be tried."""
    notice: str = ""
    refused: str = ""
    """Why the last launch was refused; empty if it was not."""


Memory = Mapping[str, PoolMemory]


# --- what is planned --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    """The decisions of one tick, one for each pool."""

    pools: tuple[Decision, ...]
    paused: bool = False
    """The fleet is paused: launches decided earlier wait too."""
