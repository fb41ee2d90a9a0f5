"""The JSON of batches and images, as the API and webhooks show them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from config.settings import CollectorSettings
from core.domain.addresses import without_version
from web_tier.catalog.batch_options import BatchOptions
from web_tier.catalog.batches import Batch, Catalog, Image
from web_tier.http.responses import encode_json
from web_tier.services.fleet_view import FleetView
from web_tier.services.lifecycle import DAY_S


def serialize_image(image: Image) -> dict[str, Any]:
    """Return the JSON of an image with its result."""
    return {
        "image_id": image.id,
        "batch_id": image.batch_id,
        "name": image.name,
        "sha256": image.sha256,
        "bytes": image.bytes,
        "status": "queued" if image.status == "received" else image.status,
        "error": image.error,
        "caption": image.caption,
        "tags": image.tags,
        "edited": image.edited,
        "timings_ms": image.timings,
        "tagger": image.tagger,
        "created_at": to_iso(image.created_at),
        "finished_at": to_iso(image.finished_at),
        "origin": None if image.origin is None else without_version(image.origin),
    }


class BatchSerializer:
    """Serializes batches, with the workers of their pool and their own speed. `clock` returns Unix seconds."""

    def __init__(self, catalog: Catalog, fleet: FleetView, ages: CollectorSettings, clock: Callable[[], float]) -> None:
        self._catalog = catalog
        self._fleet = fleet
        self._ages = ages
        self._clock = clock

    def __call__(self, batch: Batch) -> dict[str, Any]:
        waiting = batch.total - batch.completed
        rate = self._catalog.measure_rate(batch.id, self._clock()) if waiting and batch.completed else None
        ready, booting = self._fleet.workers_of(batch.pool)
        return {
            **_identity(batch),
            "workers": {"ready": ready, "booting": booting},
            "rate": None if rate is None else round(rate, 2),
            "eta_s": None if rate is None else round(waiting / rate, 1),
            "created_at": to_iso(batch.created_at),
            "closed_at": to_iso(batch.closed_at),
            "completed_at": to_iso(batch.completed_at if batch.cancelled_at is None else batch.cancelled_at),
            "cancelled_at": to_iso(batch.cancelled_at),
            "expires_at": to_iso(self._expires_at(batch)),
            "metadata": batch.metadata,
            "options": BatchOptions().model_dump() | batch.options,
        }

    def _expires_at(self, batch: Batch) -> float | None:
        if batch.closed_at is None:
            return batch.changed_at + self._ages.expire_open_s
        if batch.completed_at is None or not self._ages.retention_days:
            return None
        return batch.completed_at + self._ages.retention_days * DAY_S


def serialize_webhook_event(event: str, batch: Batch) -> str:
    """Return the body that tells a webhook of the end of `batch`; `event` is one of `catalog.webhooks.EVENTS`."""
    ended_at = to_iso(batch.completed_at)
    data = {**_identity(batch), "created_at": to_iso(batch.created_at), "completed_at": ended_at}
    return encode_json({"type": event, "timestamp": ended_at, "data": data}).decode()


def _identity(batch: Batch) -> dict[str, Any]:
    return {
        "id": batch.id,
        "status": batch.status,
        "tagger": batch.pool,
        "request_counts": {
            "total": batch.total,
            "completed": batch.completed,
            "failed": batch.failed,
            "cancelled": batch.cancelled,
        },
    }


def to_iso(at: float | None) -> str | None:
    """Return a time in Unix seconds as ISO 8601 in UTC, with milliseconds."""
    return None if at is None else datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds")
