"""Schemas of batches, their images, uploads and results."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field

from core.domain.messages import Confidence, Tag, Timings
from web_tier.api.schemas import RequestBody, example, example_of
from web_tier.catalog.batch_options import BatchOptions
from web_tier.catalog.result_queries import Order

MAX_PAGE = 1000
MAX_KNOWN = 1000
_MAX_ID = (1 << 63) - 1
_MAX_SEARCH = 200

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
ItemStatus = Literal["queued", "succeeded", "failed", "cancelled"]
BatchStatus = Literal["open", "queued", "in_progress", "completed", "cancelled", "expired"]


def page_limit(default: int) -> Any:
    """Return the query parameter `limit` of a list."""
    return Field(default, ge=1, le=MAX_PAGE, description="How many entries the page has at most")


CURSOR = "`next_cursor` of the page before"


class BatchRequest(RequestBody):
    """`tagger` is the name of a pool (see /api/v1/models); null takes the first one."""

    model_config = example(
        {
            "tagger": "resnet50",
            "options": {"max_tags": 3, "min_confidence": 0.2, "exclude": ["web site"]},
            "metadata": {"album": "Rome"},
        }
    )
    tagger: str | None = None
    options: BatchOptions = BatchOptions()
    metadata: dict[str, Any] = Field({})


class RequestCounts(BaseModel):
    """`completed` counts every image that reached an end, including failed and cancelled ones."""

    total: int
    completed: int
    failed: int
    cancelled: int


class WorkerCounts(BaseModel):
    ready: int
    booting: int


class BatchOut(BaseModel):
    """`rate` is in images/s over the last seconds; times are ISO 8601 in UTC.

    `expires_at` is the time at which an open batch is closed if nothing happens in it, or a finished one is deleted. A
    batch that was closed in this way ends as `expired`.
    """

    model_config = example(
        {
            "id": "bat_01mcc5rm009ndjwtegjtmx",
            "status": "in_progress",
            "tagger": "resnet50",
            "request_counts": {"total": 90, "completed": 41, "failed": 1, "cancelled": 0},
            "workers": {"ready": 1, "booting": 0},
            "rate": 83.1,
            "eta_s": 0.6,
            "created_at": "2027-01-15T08:00:00.000+00:00",
            "closed_at": "2027-01-15T08:00:09.412+00:00",
            "completed_at": None,
            "cancelled_at": None,
            "expires_at": None,
            "metadata": {"album": "Rome"},
            "options": {
                "top_k": 5,
                "min_confidence": 0.05,
                "cumulative": None,
                "tasks": None,
                "candidates": None,
                "max_tags": None,
                "include": [],
                "exclude": [],
            },
        }
    )
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


class BatchesQuery(BaseModel):
    limit: int = page_limit(20)
    cursor: Annotated[str, Field(max_length=200)] | None = Field(None, description=CURSOR)


class BatchesOut(BaseModel):
    model_config = example({"batches": [example_of(BatchOut)], "next_cursor": None})
    batches: list[BatchOut]
    next_cursor: str | None


class RetryRequest(RequestBody):
    """`image_ids` null means all failed images."""

    model_config = example({"image_ids": ["img_01mcc5rm00h8zqk4w2v6na"]})
    image_ids: Annotated[list[str], Field(max_length=10_000)] | None = None


class RetryOut(BaseModel):
    model_config = example({"retried": 1, "batch": example_of(BatchOut)})
    retried: int
    batch: BatchOut


class ItemOut(BaseModel):
    """One image and its result. `tagger` is the tagger that tagged it, with its version.

    `origin` is the address of a file that was dropped into a bucket; null for an upload.
    """

    model_config = example(
        {
            "image_id": "img_01mcc5rm00h8zqk4w2v6na",
            "batch_id": "bat_01mcc5rm009ndjwtegjtmx",
            "name": "holiday/b.jpg",
            "sha256": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
            "bytes": 81_920,
            "status": "succeeded",
            "error": None,
            "caption": None,
            "tags": [
                {"name": "golden retriever", "confidence": 0.93, "source": "model", "instances": []},
                {
                    "name": "our dog",
                    "confidence": None,
                    "source": "person",
                    "instances": [{"box": [0.1, 0.2, 0.4, 0.5], "confidence": None}],
                },
            ],
            "edited": True,
            "timings_ms": {"queue": 812.0, "fetch": 2.0, "decode": 4.0, "infer": 21.0},
            "tagger": "resnet50@1dd8f080",
            "created_at": "2027-01-15T08:00:02.105+00:00",
            "finished_at": "2027-01-15T08:00:02.944+00:00",
            "origin": None,
        }
    )
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


class ResultsQuery(BaseModel):
    limit: int = page_limit(100)
    cursor: Annotated[str, Field(max_length=_MAX_SEARCH)] | None = Field(
        None, description=f"{CURSOR}; in upload order, the position of an image, after which the page begins"
    )
    order: Order = Field(
        "upload",
        description="By upload; `latest`: last change first; `surest`, `unsure`: by the image's highest confidence, "
        "images without one last",
    )
    status: ItemStatus | None = Field(None, description="Only images with this status")
    tag: Annotated[str, Field(max_length=_MAX_SEARCH)] | None = Field(
        None, description="Only images with this tag or a kind of it, in any case"
    )
    q: Annotated[str, Field(max_length=_MAX_SEARCH)] | None = Field(
        None, description="Only images with a tag that begins so, in any case"
    )
    min_confidence: Confidence | None = Field(
        None, description="The least confidence of that tag; a person's tag always has enough"
    )


class ResultsOut(BaseModel):
    model_config = example({"results": [example_of(ItemOut)], "next_cursor": "41"})
    results: list[ItemOut]
    next_cursor: str | None


class EventsQuery(BaseModel):
    last_event_id: Annotated[int, Field(ge=0, le=_MAX_ID)] | None = Field(
        None, description="Used if the header Last-Event-ID is missing"
    )
    items: bool = Field(True, description="false leaves out the `item` events: for followers who only count")


class ExportQuery(BaseModel):
    format: Literal["csv", "jsonl", "coco", "xmp"] = Field(description="The format of the file")
    plain: bool = Field(False, description="csv for programs: no byte-order mark, no apostrophe before a formula")


class UploadRequest(BaseModel):
    """Each part named `files` is one image; its filename is the name."""

    model_config = example({"files": ["…the bytes of the image…"]})
    files: list[Annotated[str, Field(json_schema_extra={"contentMediaType": "application/octet-stream"})]]


class UploadOut(BaseModel):
    model_config = example(
        {"images": [{**example_of(ItemOut), "status": "queued", "tags": [], "tagger": None, "finished_at": None}]}
    )
    images: list[ItemOut]


class CheckRequest(RequestBody):
    """`batch_id` null looks in all batches."""

    model_config = example({"sha256": [example_of(ItemOut)["sha256"]], "batch_id": None})
    sha256: Annotated[list[Sha256], Field(max_length=MAX_KNOWN)]
    batch_id: str | None = None


class CheckOut(BaseModel):
    """`known` maps each sha256 that the service has to the id of its image."""

    model_config = example({"known": {example_of(ItemOut)["sha256"]: example_of(ItemOut)["image_id"]}})
    known: dict[str, str]


class KnownImage(RequestBody):
    name: Annotated[str, Field(max_length=10_000)]
    sha256: Sha256


class KnownRequest(RequestBody):
    model_config = example({"images": [{name: example_of(ItemOut)[name] for name in ("name", "sha256")}]})
    images: Annotated[list[KnownImage], Field(max_length=MAX_KNOWN)]


class KnownOut(BaseModel):
    model_config = example({"images": [example_of(ItemOut), None]})
    images: list[ItemOut | None]


class FormRequest(RequestBody):
    model_config = example({"batch_id": example_of(BatchOut)["id"]})
    batch_id: str


class FormOut(BaseModel):
    """Send `fields` and then the file, in a part named `file`, as multipart/form-data to `url`, before `expires_at`."""

    model_config = example(
        {
            "image_id": "img_01mcc5rm00h8zqk4w2v6na",
            "url": "https://store.example/",
            "fields": {"key": "images/bat_01mcc5rm009ndjwtegjtmx/img_01mcc5rm00h8zqk4w2v6na"},
            "expires_at": "2027-01-15T08:15:00.000+00:00",
        }
    )
    image_id: str
    url: str
    fields: dict[str, str]
    expires_at: str


class UploadedImage(RequestBody):
    image_id: Annotated[str, Field(pattern=r"^img_[0-9a-z]{22}$")]
    name: Annotated[str, Field(max_length=10_000)]


class UploadedRequest(RequestBody):
    model_config = example({"images": [{name: example_of(ItemOut)[name] for name in ("image_id", "name")}]})
    images: Annotated[list[UploadedImage], Field(max_length=MAX_KNOWN)]
