"""Schemas of the fleet, of operators' orders, of dead letters and of health."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from core.fleet.decisions import DecisionRecord
from core.fleet.events import FleetEvent
from core.fleet.orders import MOST_WORKERS, Source
from core.fleet.roster import Heartbeat, PoolStatus
from web_tier.api.schemas import RequestBody, example
from web_tier.catalog.samples import Sample

MAX_LETTERS = 1000

_DECISION: dict[str, Any] = {
    "id": "dec_01mcc5rm00x3h8d0c2k9fb",
    "at": 1_800_000_001.2,
    "pool": "resnet50",
    "action": "launch 1",
    "reason": "90 images wait and no worker runs: launch 1",
    "terms": {"rule": "launch", "visible": 90, "wanted": 1},
}


class QueueDepth(BaseModel):
    visible: int
    in_flight: int
    delayed: int
    dead: int
    read_at: float


class StalledOut(BaseModel):
    """A part that makes no progress although it has work, for `since_s` seconds; `detail` continues its name."""

    part: Literal["worker", "collector", "controller"]
    id: str
    since_s: float
    detail: str


class FleetOut(BaseModel):
    """`queues` are by pool. `cap` limits the workers of all pools together, and `cap_source` says who set it."""

    model_config = example(
        {
            "queues": {
                "resnet50": {"visible": 41, "in_flight": 8, "delayed": 0, "dead": 0, "read_at": 1_800_000_005.0}
            },
            "workers": [
                {
                    "worker_id": "i-0a1b2c3d4e5f60718",
                    "pool": "resnet50",
                    "tagger": "resnet50@1dd8f080",
                    "state": "busy",
                    "seq": 41,
                    "at": 1_800_000_004.9,
                    "state_since": 1_800_000_003.0,
                    "started_at": 1_799_999_990.0,
                }
            ],
            "stalled": [],
            "pools": [
                {
                    "pool": "resnet50",
                    "wanted": "resnet50",
                    "serves": "resnet50@1dd8f080",
                    "state": "ready",
                    "at": 1_800_000_000.0,
                }
            ],
            "decisions": [_DECISION],
            "paused": False,
            "cap": 8,
            "cap_source": "settings",
        }
    )
    queues: dict[str, QueueDepth]
    workers: list[Heartbeat]
    stalled: list[StalledOut]
    pools: list[PoolStatus]
    decisions: list[DecisionRecord]
    paused: bool
    cap: int
    cap_source: Source


class PauseOut(BaseModel):
    model_config = example({"paused": True})
    paused: bool


class CapRequest(RequestBody):
    """`max_workers` counts all pools together and replaces the setting; 0 drains all, null restores the setting."""

    model_config = example({"max_workers": 8})
    max_workers: Annotated[int, Field(ge=0, le=MOST_WORKERS)] | None


class CapOut(BaseModel):
    """`cap` takes effect at the controller's next tick; `cap_source` says who set it."""

    model_config = example({"cap": 8, "cap_source": "operator"})
    cap: int
    cap_source: Source


class DrainOut(BaseModel):
    model_config = example({"worker_id": "lau_01mcc5rm00q7w9x3y5z2ab-0"})
    worker_id: str


class HistoryQuery(BaseModel):
    after: Annotated[float, Field(ge=0, allow_inf_nan=False)] = Field(
        0.0, description="Only samples, decisions and changes later than this, in Unix seconds"
    )


class HistoryOut(BaseModel):
    """Oldest first. A decision is listed if it differs from the one before it of its pool.

    `changes` say which worker was started or ended, why, and by whom: the controller, an operator, the machine's owner
    or the worker itself.
    """

    model_config = example(
        {
            "samples": [
                {
                    "at": 1_800_000_005.0,
                    "visible": 41,
                    "in_flight": 8,
                    "dead": 0,
                    "workers": {"busy": 1},
                    "rate": 83.1,
                }
            ],
            "decisions": [_DECISION],
            "changes": [
                {
                    "at": 1_800_000_002.2,
                    "kind": "launched",
                    "pool": "resnet50",
                    "worker_id": "i-0a1b2c3d4e5f60718",
                    "offering": "g4dn.xlarge spot in us-east-1b",
                    "by": "controller",
                    "controller": "ctl_01mcc5rm00t8v2k1s6x4zc",
                    "decision": _DECISION["id"],
                    "reason": _DECISION["reason"],
                }
            ],
        }
    )
    samples: list[Sample]
    decisions: list[DecisionRecord]
    changes: list[FleetEvent]


class DeadLettersQuery(BaseModel):
    limit: Annotated[int, Field(ge=1, le=MAX_LETTERS)] = Field(100, description="How many of each pool at most")
    cursor: (
        Annotated[str, Field(max_length=4000, pattern=r"^[A-Za-z0-9_.-]+:[0-9]{1,18}(,[A-Za-z0-9_.-]+:[0-9]{1,18})*$")]
        | None
    ) = Field(None, description="`next_cursor` of the page before")


class DeadLetter(BaseModel):
    """A job that was delivered too often. One that can't be read has no ids, and `name` says why.

    `received` counts its deliveries to workers; `sent_at` is Unix seconds.
    """

    pool: str
    batch_id: str
    image_id: str
    name: str
    received: int
    sent_at: float


class DeadLettersOut(BaseModel):
    """`next_cursor` continues with the pools that have more. SQS lists no pages, so on AWS it is always null."""

    model_config = example(
        {
            "dead_letters": [
                {
                    "pool": "resnet50",
                    "batch_id": "bat_01mcc5rm009ndjwtegjtmx",
                    "image_id": "img_01mcc5rm00h8zqk4w2v6na",
                    "name": "holiday/b.jpg",
                    "received": 6,
                    "sent_at": 1_800_000_002.1,
                }
            ],
            "next_cursor": None,
        }
    )
    dead_letters: list[DeadLetter]
    next_cursor: str | None


class RedriveRequest(RequestBody):
    """`pool` limits it to one pool; null takes the dead letters of all."""

    model_config = example({"pool": "resnet50"})
    pool: str | None = None


class RedriveOut(BaseModel):
    model_config = example({"redriven": 1})
    redriven: int


class HealthOut(BaseModel):
    """`catalogue` says what is wrong with the catalogue while the status is `degraded`."""

    model_config = example({"status": "ready"})
    status: Literal["ok", "degraded", "ready"]
    catalogue: str | None = None
