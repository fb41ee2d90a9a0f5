"""Batches, images and tags as frozen dataclasses. Fields that a newer service adds are ignored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Tag:
    """A tag. `confidence` is 0..1, or None if the model gives none."""

    name: str
    confidence: float | None
    source: str = "model"
    instances: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Item:
    """One image of a batch. `error` is a sentence if `status` is "failed". `edited` means that a person changed the
    tags. Times are ISO 8601 in UTC.
    """

    image_id: str
    batch_id: str
    name: str
    sha256: str
    bytes: int
    status: str
    error: str | None = None
    caption: str | None = None
    tags: list[Tag] = field(default_factory=list)
    edited: bool = False
    timings_ms: dict[str, float] = field(default_factory=dict)
    tagger: str | None = None
    created_at: str | None = None
    finished_at: str | None = None
    origin: str | None = None
    """Address of a file that was dropped into a bucket; None for an upload."""

    @property
    def finished(self) -> bool:
        """Whether the image is done: tagged, failed or cancelled."""
        return self.status in ("succeeded", "failed", "cancelled")

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Item:
        tags = [
            Tag(tag["name"], tag["confidence"], tag.get("source", "model"), tag.get("instances") or [])
            for tag in data.get("tags") or ()
        ]
        return cls(
            image_id=data["image_id"],
            batch_id=data["batch_id"],
            name=data["name"],
            sha256=data["sha256"],
            bytes=data["bytes"],
            status=data["status"],
            error=data.get("error"),
            caption=data.get("caption"),
            tags=tags,
            edited=data.get("edited", False),
            origin=data.get("origin"),
            timings_ms=data.get("timings_ms") or {},
            tagger=data.get("tagger"),
            created_at=data.get("created_at"),
            finished_at=data.get("finished_at"),
        )


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch. `completed` counts finished images, including `failed` and `cancelled` ones; `rate` is in images/s.

    The service deletes the batch at `expires_at`, if it deletes batches at all.
    """

    id: str
    status: str
    tagger: str
    total: int
    completed: int
    failed: int
    cancelled: int = 0
    rate: float | None = None
    eta_s: float | None = None
    workers: dict[str, int] = field(default_factory=dict)
    created_at: str | None = None
    closed_at: str | None = None
    completed_at: str | None = None
    expires_at: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    metadata: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Batch:
        counts = data["request_counts"]
        return cls(
            id=data["id"],
            status=data["status"],
            tagger=data["tagger"],
            total=counts["total"],
            completed=counts["completed"],
            failed=counts["failed"],
            cancelled=counts.get("cancelled", 0),
            rate=data.get("rate"),
            eta_s=data.get("eta_s"),
            workers=data.get("workers") or {},
            created_at=data.get("created_at"),
            closed_at=data.get("closed_at"),
            completed_at=data.get("completed_at"),
            expires_at=data.get("expires_at"),
            options=data.get("options") or {},
            metadata=data.get("metadata") or {},
        )


@dataclass(frozen=True, slots=True)
class TagCount:
    """A tag and the number of images that have it."""

    name: str
    count: int


@dataclass(frozen=True, slots=True)
class Edit:
    """A change of tags that can be undone, and the images after it."""

    id: str
    images: list[Item]
