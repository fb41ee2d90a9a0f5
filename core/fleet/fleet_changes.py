"""The changelog of the fleet, as it is kept in the store: who started or ended what, and why."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

Kind = Literal[
    "launched",
    "adopted",
    "orphan",
    "ready",
    "boot_failed",
    "asked_to_drain",
    "interrupted",
    "lost",
    "drained",
    "ended",
    "gone",
]
By = Literal["controller", "operator", "owner", "itself"]
"""`owner`: who rents the machine out."""


class FleetChange(BaseModel):
    """A worker came, went or was told to: what happened, who did it, and why."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    at: float
    kind: Kind
    pool: str
    worker_id: str
    offering: str = ""
    """Which kind of machine, in words; empty where that is not known any more."""
    by: By
    controller: str = ""
    """`ctl_…`, where a controller did it."""
    decision: str = ""
    """`dec_…`, which made it do so; empty where that is not known."""
    reason: str
    """One sentence without a full stop."""


class FleetChanges(BaseModel):
    """Oldest first."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    changes: tuple[FleetChange, ...] = ()
