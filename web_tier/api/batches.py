"""Batches: create, list, watch, close, cancel, retry and delete them, and read their results."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from flask import Blueprint, Response

from core.domain.ids import new_id
from web_tier.api.result_cursors import parse_cursor, write_cursor
from web_tier.api.schemas.batches import (
    BatchesOut,
    BatchesQuery,
    BatchOut,
    BatchRequest,
    ResultsOut,
    ResultsQuery,
    RetryOut,
    RetryRequest,
)
from web_tier.catalog.batch_options import unsupported, with_defaults
from web_tier.catalog.batches import Batch
from web_tier.catalog.result_queries import Wanted
from web_tier.catalog.tag_rows import TagFilter
from web_tier.http.prefer_wait import PREFER
from web_tier.http.problems import Refused
from web_tier.http.request_parsing import idempotency_header, idempotency_key
from web_tier.http.responses import json_response
from web_tier.http.routes import Answer, Resource
from web_tier.services.container import Services
from web_tier.services.serializers import serialize_image

_STATUSES = {
    "queued": ("received", "queued"),
    "succeeded": ("succeeded",),
    "failed": ("failed",),
    "cancelled": ("cancelled",),
}


def blueprint(services: Services) -> Blueprint:
    batches = Resource("batches", tag="batches")
    _declare_list(batches, services)
    _declare_actions(batches, services)
    return batches.blueprint


def _declare_list(batches: Resource, services: Services) -> None:
    """Declare the routes that create batches and read them."""

    @batches.route(
        "POST /batches",
        scope="write",
        body=BatchRequest,
        headers=(idempotency_header("batch"),),
        answer=Answer(BatchOut, 201, also={200: "The batch that an earlier request with this Idempotency-Key created"}),
    )
    def create_batch(body: BatchRequest) -> Response:
        """Create a batch

        Images are tagged as soon as they are uploaded into it. A request that repeats an Idempotency-Key gets the batch
        of the first one.
        """
        pool = _pool(services, body.tagger)
        _check_options(services.settings.pools[pool].tagger, pool, body)
        now = services.clock()
        batch = Batch(
            id=new_id("bat", now),
            pool=pool,
            options=with_defaults(body.options, services.settings.pools[pool].top_k).asked(),
            metadata=body.metadata,
            created_at=now,
            closed_at=None,
            completed_at=None,
            change=0,
            total=0,
            completed=0,
            failed=0,
            changed_at=now,
        )
        batch, created = services.catalog.create_batch(
            batch, payload_hash=_payload_hash(body), idempotency_key=idempotency_key()
        )
        location = {"Location": f"/api/v1/batches/{batch.id}"}
        return json_response(services.serialize_batch(batch), 201 if created else 200, location)

    @batches.route("GET /batches", scope="read", query=BatchesQuery, answer=BatchesOut)
    def list_batches(query: BatchesQuery) -> dict[str, Any]:
        """List batches, newest first"""
        page = services.catalog.list_batches(query.limit, query.cursor)
        more = page[-1].id if len(page) == query.limit else None
        return {"batches": [services.serialize_batch(batch) for batch in page], "next_cursor": more}

    @batches.route("GET /batches/<batch_id>", scope="read", headers=(PREFER,), answer=BatchOut)
    def get_batch(batch_id: str) -> Response:
        """Get a batch

        `Prefer: wait=SECONDS` delays the answer until the batch has ended.
        """
        batch, applied = _wait_for_end(services, batch_id)
        return json_response(batch, headers=applied)

    @batches.route("GET /batches/<batch_id>/results", scope="read", query=ResultsQuery, answer=ResultsOut)
    def list_results(batch_id: str, query: ResultsQuery) -> dict[str, Any]:
        """List the images of a batch, with the results that are there"""
        after = None if query.cursor is None else parse_cursor(query.order, query.cursor)
        services.catalog.read_change(batch_id)  # a batch that doesn't exist is a 404 and not an empty page
        statuses = None if query.status is None else _STATUSES[query.status]
        tagged = TagFilter(query.tag or None, query.q or None, query.min_confidence)
        page = services.results.page(batch_id, Wanted(statuses, tagged, query.order), query.limit, after)
        more = None if page.end is None else write_cursor(query.order, page.end)
        return {"results": [serialize_image(image) for image in page.images], "next_cursor": more}


def _declare_actions(batches: Resource, services: Services) -> None:
    """Declare the routes that change a batch."""

    @batches.route("POST /batches/<batch_id>/close", scope="write", headers=(PREFER,), answer=BatchOut)
    def close_batch(batch_id: str) -> Response:
        """Close a batch: it takes no more images, and completes when all have their results

        `Prefer: wait=SECONDS` delays the answer until then.
        """
        services.catalog.close_batch(batch_id, services.clock())
        batch, applied = _wait_for_end(services, batch_id)
        return json_response(batch, headers=applied)

    @batches.route(
        "POST /batches/<batch_id>/cancel",
        scope="write",
        answer=BatchOut,
        errors={409: "The batch collects files that are dropped into a bucket"},
    )
    def cancel_batch(batch_id: str) -> dict[str, Any]:
        """Cancel a batch: results that are there stay, images that still wait become `cancelled`

        It takes effect at once, however large the batch is; followers get each image's event afterwards. A batch that
        has ended does not change. One that collects files dropped into a bucket can't be cancelled.
        """
        return services.serialize_batch(services.lifecycle.cancel(batch_id))

    @batches.route(
        "POST /batches/<batch_id>/retry",
        scope="write",
        body=RetryRequest,
        headers=(PREFER,),
        answer=RetryOut,
        errors={409: "The batch was cancelled"},
    )
    def retry_batch(batch_id: str, body: RetryRequest) -> Response:
        """Retry failed images of a batch: the named ones, or all

        Files that were refused at their upload stay failed, because their bytes were not kept. `Prefer: wait=SECONDS`
        delays the answer until the batch has ended.
        """
        count = services.lifecycle.retry(batch_id, body.image_ids)
        batch, applied = _wait_for_end(services, batch_id)
        return json_response({"retried": count, "batch": batch}, headers=applied)

    @batches.route("DELETE /batches/<batch_id>", scope="write", answer=Answer(status=204))
    def delete_batch(batch_id: str) -> None:
        """Delete a batch with all its images, thumbnails and results

        It is gone for everybody at once, however large it is; the last bytes are deleted within minutes. Files that
        were dropped into a bucket stay there.
        """
        services.lifecycle.delete(batch_id)


def _wait_for_end(services: Services, batch_id: str) -> tuple[dict[str, Any], dict[str, str]]:
    """Wait as long as the request prefers to. Return the batch, and the header of the answer that says so."""
    applied = services.prefer_wait.until(lambda: services.catalog.get_batch(batch_id).ended)
    return services.serialize_batch(services.catalog.get_batch(batch_id)), applied


def _payload_hash(body: BatchRequest) -> str:
    """Return a hash that equal requests share."""
    try:
        canonical = json.dumps(body.model_dump(), sort_keys=True, allow_nan=False)
    except ValueError:
        raise Refused(422, "metadata: NaN and Infinity are not JSON") from None
    return hashlib.sha256(canonical.encode()).hexdigest()


def _check_options(tagger: str, pool: str, body: BatchRequest) -> None:
    if wrong := unsupported(body.options, tagger):
        errors = {f"options.{name}": [f"{tagger} has no such option"] for name in wrong}
        what = " and ".join(wrong)
        raise Refused(422, f"options: {what} are for florence2, and the pool {pool} runs {tagger}", errors=errors)


def _pool(services: Services, wanted: str | None) -> str:
    if wanted is None:
        return services.settings.default_pool
    if wanted not in services.settings.pools:
        known = ", ".join(services.settings.pools)
        raise Refused(422, f"tagger: there is no {wanted[:80]!r}; there are {known}", errors={"tagger": ["unknown"]})
    return wanted
