"""The controller's words: what it sees, what it may do, what it remembers, what it plans. Frozen values, no behaviour.

Time is told in durations that grow from one observation to the next, never in moments: no clock is compared with
another one, and a clock that jumps moves nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Literal

from config.settings import ControllerSettings
from core.fleet.decisions import Decision
from core.storage.ports import PROCESS, Depth, Offering

# --- what is seen -----------------------------------------------------------------------------


class Stage(StrEnum):
    """requested → pending → booting → warming → idle ⇄ busy → draining → drained → terminating → gone

    Aside: `boot_failed` (not ready by its deadline, or gone before), `lost` (its heartbeat stands still),
    `interrupted` (its machine is being taken away), `orphan`: an instance of ours that the ledger does not know, and
    that gives no sign of life. One that does is adopted, at the stage it is found in. And `unanswered`: a launch that
    was asked for again and again without an answer. It may come to be, so it is billed; nothing waits for it.
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
    """Will be ready, as far as is known."""
    ready: bool
    leaving: bool
    """Finishes what it holds, and takes nothing more."""

    def __init__(self, name: str) -> None:
        # Attributes, not properties: a large fleet asks for them some thousand times a tick.
        self.coming = name in ("requested", "pending", "booting", "warming")
        self.ready = name in ("idle", "busy")
        self.leaving = name in ("draining", "interrupted")


@dataclass(slots=True)
class Worker:
    """One instance that is not gone, or a launch that was asked for and is not listed yet.

    Not frozen, as the others are, and never changed either: each tick makes one of every instance, in a fifth of the
    time.
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
    """False for a worker that somebody started by hand: it is capacity, but is neither billed nor touched."""
    price: float = 0.0
    """$/h, as agreed when it was launched."""


@dataclass(frozen=True, slots=True)
class News:
    """What happened in a pool since the observation before."""

    arrived: float = 0.0
    """Images: growth of the queue plus completions; below 0 where counts lag."""
    handled: int = 0
    failed: int = 0
    """How many of them ended with an error."""
    throughputs: tuple[float, ...] = ()
    """Images/s of single workers, each over a second of work or more."""
    boots: tuple[float, ...] = ()
    """Seconds from launch to ready of workers that became ready."""
    failures: int = 0
    """Launches refused, and instances that were gone or past their deadline before they were ready."""
    broken: int = 0
    """Workers that an error ended before they had finished one image."""
    notice: str = ""
    """What the failed one said of itself."""
    refused: str = ""
    """Why a launch was refused, in a clause."""
    lasting: bool = False
    """The refusal stays until somebody mends its cause."""


@dataclass(frozen=True, slots=True)
class PoolView:
    """`unread` says, in a clause, which reading failed; what stands beside it is then from an earlier one."""

    pool: str
    depth: Depth
    workers: tuple[Worker, ...] = ()
    news: News = News()
    unread: str = ""
    offerings: tuple[Offering, ...] = (PROCESS,)
    """What may be launched now, best first; empty where nothing is to be had."""
    floor: int = 0
    """Workers that the schedule asks for one boot from now."""
    foreseen: float = 0.0
    """Images/s that came at this time yesterday, one boot and a slot ahead."""


@dataclass(frozen=True, slots=True)
class Observation:
    elapsed_s: float
    """Since the observation before."""
    pools: tuple[PoolView, ...]
    paused: bool = False
    """An operator wants the fleet left as it is."""
    cap: int | None = None
    """What an operator set in place of `max_workers`."""


# --- what is allowed and wanted ---------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings of the section `[controller]` that decisions depend on; seconds and images/s."""

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
        """As it is under an operator's cap; None: under the settings'."""
        return self if cap is None else replace(self, max_workers=cap, cap_source="operator")


def policy_of(settings: ControllerSettings) -> Policy:
    """The part of the settings that decisions depend on, under the names by which recordings know them."""
    same = settings.model_dump(include=set(Policy.__slots__))
    return Policy(**same, drain_goal_s=settings.backlog_target_s, linger_s=settings.idle_keep_s)


# --- what is remembered -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PoolMemory:
    """What one decision hands to the next; it is kept in the ledger and survives the controller."""

    throughputs: tuple[float, ...] = ()
    boots: tuple[float, ...] = ()
    arrivals: tuple[float, float] = (0.0, 0.0)
    """The two smoothing stages of the arrival rate, images/s."""
    lately: float = 0.0
    """Images/s that arrived in the last quarter of a drain goal or so."""
    quiet_s: float = 0.0
    """How long nothing has been outstanding and nothing was completed."""
    below_s: float | None = None
    """How long the target has stayed below the fleet; None where it is not."""
    ladder: tuple[tuple[float, int], ...] = ()
    """When so many workers were needed last (`controller.policy.scale_in`)."""
    gaps: tuple[tuple[float, int], ...] = ()
    """How long workers were not needed before they were again."""
    starved_s: float | None = None
    """How long the pool has wanted a worker and had none; None where that is not so."""
    failures: int = 0
    """Failed boots, refused launches and workers that broke, in a row."""
    broken: int = 0
    """How many of them broke at work: a boot ends no such row, only an image that somebody finishes."""
    retry_in_s: float = 0.0
    """No launch before this has run down."""
    notice: str = ""
    refused: str = ""
    """Why the last launch was refused; empty where it was not."""


Memory = Mapping[str, PoolMemory]


# --- what is planned --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Plan:
    pools: tuple[Decision, ...]
    paused: bool = False
    """Launches that were decided before wait too."""
