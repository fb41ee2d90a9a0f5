"""The shapes of what operators ask of the fleet and see of it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from core.fleet.decisions import DecisionRecord
from core.fleet.events import FleetEvent
from core.fleet.orders import MOST_WORKERS, Source
from web_tier.catalog.samples import Sample

MOST_LETTERS = 1000


class PauseOut(BaseModel):
    paused: bool


class CapRequest(BaseModel):
    """`max_workers`: of all pools together, in place of the settings'; 0 drains all, null goes back to the settings."""

    model_config = ConfigDict(extra="forbid")
    max_workers: Annotated[int, Field(ge=0, le=MOST_WORKERS)] | None


class CapOut(BaseModel):
    """`cap` holds from the controller's next tick on; `cap_source` says who set it."""

    cap: int
    cap_source: Source


class DrainOut(BaseModel):
    worker_id: str


class DeadLettersQuery(BaseModel):
    """`limit`: of each pool."""

    limit: Annotated[int, Field(ge=1, le=MOST_LETTERS)] = 100


class DeadLetter(BaseModel):
    """A job that was delivered too often. One that cannot be read has no ids, and `name` says why.

    `received` counts its deliveries, those to people who looked at it included; `sent_at` is Unix seconds.
    """

    pool: str
    batch_id: str
    image_id: str
    name: str
    received: int
    sent_at: float


class DeadLettersOut(BaseModel):
    dead_letters: list[DeadLetter]


class RedriveRequest(BaseModel):
    """`pool`: only this one's; null takes those of all."""

    model_config = ConfigDict(extra="forbid")
    pool: str | None = None


class RedriveOut(BaseModel):
    redriven: int


class HistoryQuery(BaseModel):
    """`after`: only samples, decisions and changes later than this, in Unix seconds."""

    after: Annotated[float, Field(ge=0, allow_inf_nan=False)] = 0.0


class HistoryOut(BaseModel):
    """Oldest first. A decision is here where it differs from its pool's one before.

    `changes` are who started or ended which worker, and why; `by` the controller, an operator, the machine's owner or
    the worker itself.
    """

    samples: list[Sample]
    decisions: list[DecisionRecord]
    changes: list[FleetEvent]
