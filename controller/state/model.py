"""The controller's words: what it sees, what it may do, what it remembers, what it plans. Frozen values, no behaviour.

Time is told in durations that grow from one observation to the next, never in moments: no clock is compared with
another one, and a clock that jumps moves nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Literal

from config.settings import ControllerSettings
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


class Rule(StrEnum):
    """Which rule made a decision; changes of it, not of numbers, are worth a line in the log."""

    UNREAD = "unread"
    PAUSED = "paused"
    REST = "rest"
    ENOUGH = "enough"
    LAUNCH = "launch"
    TRIAL = "trial"
    CAP = "cap"
    BUDGET = "budget"
    NO_CAPACITY = "no_capacity"
    BACK_OFF = "back_off"
    BREAKER = "breaker"
    SETTLING = "settling"
    LINGER = "linger"
    SCALE_IN = "scale_in"
    MAKE_ROOM = "make_room"


@dataclass(frozen=True, slots=True)
class Terms:
    """Every number that made a decision. Counts are of this pool unless they say otherwise."""

    visible: int
    in_flight: int
    delayed: int
    dead: int
    orphaned: int
    """Fo: in flight, and held by no live worker."""
    arrival_rate: float
    throughput: float
    boot_s: float
    utilisation: float
    drain_goal_s: float
    requested: int
    booting: int
    idle: int
    busy: int
    draining: int
    ending: int
    by_hand: int
    """Workers, among those counted above, that are not of our fleet."""
    head_start_s: float
    """What the booting ones have behind them: the sum of max(0, B − remaining_i)."""
    backlog: float
    """Q: images that will still wait when a new worker is up."""
    wanted: int
    """N*: the workers that the work needs, or that are to be up before it."""
    needed: int
    """What our fleet must supply: N* without those started by hand, and no more than the back-off lets try."""
    granted: int
    """Its share of the cap."""
    cap: int
    """Most instances of all pools together: `max_workers`, or what an operator set in its place."""
    billable: int
    """Instances of all pools that are not gone, launches asked for included."""
    below_s: float | None
    starved_s: float | None
    failures: int
    retry_in_s: float
    price_per_hour: float = 0.0
    """$/h of the next instance that would be launched; 0 where none is to be had, or it is free."""
    spend_per_hour: float = 0.0
    """$/h of all pools' billable instances, launches asked for included."""
    budget_per_hour: float = 0.0
    """What that may come to; 0: any amount."""
    keep_s: float = 0.0
    """How long a worker that is not needed is kept."""
    peak: int = 0
    """The most that was needed within that time."""
    cap_source: Literal["settings", "operator"] = "settings"
    floor: int = 0
    """Workers that the schedule asks for."""
    foreseen: float = 0.0
    """Images/s that came at this time yesterday."""
    unanswered: int = 0
    """Launches that the fleet does not answer, again and again: billed, in case they come to be, and no supply."""

    @property
    def ahead(self) -> int:
        """Workers that are to be up before there is work."""
        return max(self.floor, math.ceil(self.foreseen / (self.utilisation * self.throughput)))

    @property
    def coming(self) -> int:
        return self.requested + self.booting

    @property
    def ready(self) -> int:
        return self.idle + self.busy

    @property
    def supply(self) -> int:
        """Workers that are ready or will be; those that leave are none."""
        return self.coming + self.ready

    @property
    def own(self) -> int:
        """The supply without those started by hand."""
        return self.supply - self.by_hand

    @property
    def outstanding(self) -> int:
        return self.visible + self.in_flight + self.delayed

    @property
    def over_budget(self) -> bool:
        return 0 < self.budget_per_hour < self.spend_per_hour - 1e-9


@dataclass(frozen=True, slots=True)
class PoolPlan:
    pool: str
    launch: int
    drain: tuple[str, ...]
    terminate: tuple[str, ...]
    rule: Rule
    reason: str
    """One plain sentence."""
    terms: Terms

    @property
    def action(self) -> str:
        """`hold`, or `launch 2`, `drain 1`, `end 1` and what of them goes together."""
        counts = {"launch": self.launch, "drain": len(self.drain), "end": len(self.terminate)}
        return ", ".join(f"{verb} {count}" for verb, count in counts.items() if count) or "hold"

    @property
    def numbers(self) -> dict[str, Any]:
        return {"rule": str(self.rule), **{name: getattr(self.terms, name) for name in Terms.__slots__}}


@dataclass(frozen=True, slots=True)
class Plan:
    pools: tuple[PoolPlan, ...]
    paused: bool = False
    """Launches that were decided before wait too."""
