"""The shapes of the API's requests and answers, from which its OpenAPI description is made."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from core.domain.messages import Confidence, Tag, Timings
from core.fleet.decisions import DecisionRecord
from core.fleet.orders import Source
from core.fleet.roster import Heartbeat, PoolStatus
from web_tier.catalog.batch_options import BatchOptions

MAX_PAGE = 1000
MAX_KNOWN = 1000
_LARGEST = (1 << 63) - 1

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_LONGEST_SOUGHT = 200

ItemStatus = Literal["queued", "succeeded", "failed", "cancelled"]
BatchStatus = Literal["open", "queued", "in_progress", "completed", "cancelled", "expired"]


class BatchRequest(BaseModel):
    """`tagger` is the name of a pool (see /api/v1/models); null takes the first one."""

    model_config = ConfigDict(extra="forbid")
    tagger: str | None = None
    options: BatchOptions = BatchOptions()
    metadata: dict[str, Any] = {}


class UploadRequest(BaseModel):
    files: list[Annotated[str, Field(json_schema_extra={"contentMediaType": "application/octet-stream"})]]


class RequestCounts(BaseModel):
    """`completed` counts every image that reached an end, failed and cancelled ones included."""

    total: int
    completed: int
    failed: int
    cancelled: int


class WorkerCounts(BaseModel):
    ready: int
    booting: int


class BatchOut(BaseModel):
    """`rate` is in images/s over the last seconds; times are ISO 8601 in UTC.

    `expires_at`: when an open batch is closed if nothing happens in it, or one that has ended is deleted. A batch that
    was closed so ends as `expired`.
    """

    id: str
    status: BatchStatus
    tagger: str
    request_counts: RequestCounts
    workers: WorkerCounts
    rate: float | None
    eta_s: float | None
    created_at: str
    closed_at: str | None
    completed_at: str | None
    cancelled_at: str | None
    expires_at: str | None
    metadata: dict[str, Any]
    options: BatchOptions


class ItemOut(BaseModel):
    """One image and what became of it; `tagger` is what really tagged it, with its version.

    `origin` is where a file lies that was dropped into a bucket; null for an upload.
    """

    image_id: str
    batch_id: str
    name: str
    sha256: str
    bytes: int
    status: ItemStatus
    error: str | None
    caption: str | None
    tags: list[Tag]
    edited: bool
    timings_ms: Timings | None
    tagger: str | None
    created_at: str
    finished_at: str | None
    origin: str | None


class UploadOut(BaseModel):
    images: list[ItemOut]


class RetryRequest(BaseModel):
    """Null stands for all failed images."""

    model_config = ConfigDict(extra="forbid")
    image_ids: Annotated[list[str], Field(max_length=10_000)] | None = None


class RetryOut(BaseModel):
    retried: int
    batch: BatchOut


class CheckRequest(BaseModel):
    """`batch_id` null looks in all batches."""

    model_config = ConfigDict(extra="forbid")
    sha256: Annotated[list[Sha256], Field(max_length=MAX_KNOWN)]
    batch_id: str | None = None


class CheckOut(BaseModel):
    """The id of an image for each sha256 that is here."""

    known: dict[str, str]


class FormRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    batch_id: str


class FormOut(BaseModel):
    """Send `fields` and then the file, in a part named `file`, as multipart/form-data to `url`, before `expires_at`."""

    image_id: str
    url: str
    fields: dict[str, str]
    expires_at: str


class UploadedImage(BaseModel):
    model_config = ConfigDict(extra="forbid")
    image_id: Annotated[str, Field(pattern=r"^img_[0-9a-z]{22}$")]
    name: Annotated[str, Field(max_length=10_000)]


class UploadedRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    images: Annotated[list[UploadedImage], Field(max_length=MAX_KNOWN)]


class KnownImage(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(max_length=10_000)]
    sha256: Sha256


class KnownRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")
    images: Annotated[list[KnownImage], Field(max_length=MAX_KNOWN)]


class KnownOut(BaseModel):
    images: list[ItemOut | None]


class BatchesQuery(BaseModel):
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 20
    cursor: Annotated[str, Field(max_length=200)] | None = None


class BatchesOut(BaseModel):
    batches: list[BatchOut]
    next_cursor: str | None


class ResultsQuery(BaseModel):
    limit: Annotated[int, Field(ge=1, le=MAX_PAGE)] = 100
    cursor: Annotated[int, Field(ge=0, le=_LARGEST)] = 0
    status: ItemStatus | None = None
    tag: Annotated[str, Field(max_length=_LONGEST_SOUGHT)] | None = None
    min_confidence: Confidence | None = None


class ResultsOut(BaseModel):
    results: list[ItemOut]
    next_cursor: str | None


class EventsQuery(BaseModel):
    last_event_id: Annotated[int, Field(ge=0, le=_LARGEST)] | None = None


class QueueDepth(BaseModel):
    visible: int
    in_flight: int
    delayed: int
    dead: int
    read_at: float


class StalledOut(BaseModel):
    """What stands still while there is work for it, for `since_s` seconds; `detail` goes on after its name."""

    part: Literal["worker", "collector", "controller"]
    id: str
    since_s: float
    detail: str


class FleetOut(BaseModel):
    queues: dict[str, QueueDepth]
    workers: list[Heartbeat]
    stalled: list[StalledOut]
    pools: list[PoolStatus]
    decisions: list[DecisionRecord]
    paused: bool
    cap: int
    cap_source: Source


class HealthOut(BaseModel):
    status: Literal["ok", "degraded", "ready"]
    catalogue: str | None = None
    """What is wrong with it, where it is degraded."""


class Problem(BaseModel):
    """RFC 9457. `request_id` names the request in the server's log; `errors` names each field that was wrong.

    `type` is `urn:tagfleet:outcome-unknown` where the change may have been made all the same: look before repeating
    what is not recognised when it comes again.
    """

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    request_id: str
    errors: dict[str, list[str]] | None = None
