"""Batches: create, close, look."""

from __future__ import annotations

import hashlib
import json

from apiflask import APIBlueprint
from flask import Response

from core.domain.ids import new_id
from web_tier.api.schemas.batches import BatchesOut, BatchesQuery, BatchOut, BatchRequest, ResultsOut, ResultsQuery
from web_tier.catalog.batch_options import misplaced, settled
from web_tier.catalog.batches import Batch
from web_tier.catalog.tag_rows import Tagged
from web_tier.http.problems import Refused
from web_tier.http.request_parsing import idempotency_key, json_body
from web_tier.http.responses import json_response
from web_tier.services.container import Services
from web_tier.services.serializers import serialize_image

_STATUSES = {
    "queued": ("received", "queued"),
    "succeeded": ("succeeded",),
    "failed": ("failed",),
    "cancelled": ("cancelled",),
}


def blueprint(services: Services) -> APIBlueprint:
    api = APIBlueprint("batches", __name__, tag="batches")

    @api.post("/batches")
    @api.output(BatchOut, status_code=201)
    @api.doc(responses={200: "The batch that an earlier request with this Idempotency-Key made", 422: "Bad request"})
    def create_batch() -> Response:
        """Create a batch

        Images are tagged as soon as they are uploaded into it. A request that repeats an Idempotency-Key gets the
        batch of the first one.
        """
        wanted, payload_hash = _batch_request()
        pool = _pool(services, wanted.tagger)
        _check_tagger(services.settings.pools[pool].tagger, pool, wanted)
        batch = Batch(
            id=new_id("bat", services.clock()),
            pool=pool,
            options=settled(wanted.options, services.settings.pools[pool].top_k).asked(),
            metadata=wanted.metadata,
            created_at=services.clock(),
            closed_at=None,
            completed_at=None,
            change=0,
            total=0,
            completed=0,
            failed=0,
            changed_at=services.clock(),
        )
        batch, new = services.catalog.create_batch(batch, payload_hash=payload_hash, idempotency_key=idempotency_key())
        place = {"Location": f"/api/v1/batches/{batch.id}"}
        return json_response(services.serialize_batch(batch), 201 if new else 200, place)

    @api.get("/batches")
    @api.input(BatchesQuery, location="query")
    @api.output(BatchesOut)
    def list_batches(query_data: BatchesQuery) -> Response:
        """List batches, newest first"""
        page = services.catalog.batches(query_data.limit, query_data.cursor)
        more = page[-1].id if len(page) == query_data.limit else None
        return json_response({"batches": [services.serialize_batch(batch) for batch in page], "next_cursor": more})

    @api.get("/batches/<batch_id>")
    @api.output(BatchOut)
    def get_batch(batch_id: str) -> Response:
        """Look at a batch

        `Prefer: wait=SECONDS` delays the answer until the batch has ended.
        """
        applied = services.prefer_wait.until(lambda: services.catalog.batch(batch_id).ended)
        return json_response(services.serialize_batch(services.catalog.batch(batch_id)), headers=applied)

    @api.post("/batches/<batch_id>/close")
    @api.output(BatchOut)
    def close_batch(batch_id: str) -> Response:
        """Close a batch: it takes no more images and completes when all have their results

        `Prefer: wait=SECONDS` delays the answer until then.
        """
        services.catalog.close_batch(batch_id, services.clock())
        applied = services.prefer_wait.until(lambda: services.catalog.batch(batch_id).ended)
        return json_response(services.serialize_batch(services.catalog.batch(batch_id)), headers=applied)

    @api.get("/batches/<batch_id>/results")
    @api.input(ResultsQuery, location="query")
    @api.output(ResultsOut)
    def list_results(batch_id: str, query_data: ResultsQuery) -> Response:
        """List a batch's images in the order of their upload, with the results that are there"""
        services.catalog.change(batch_id)  # a batch that is not there is no empty page
        statuses = None if query_data.status is None else _STATUSES[query_data.status]
        tagged = Tagged(name=query_data.tag or None, min_confidence=query_data.min_confidence)
        page = services.catalog.results(batch_id, query_data.limit, query_data.cursor, statuses, tagged)
        more = str(page[-1].position) if len(page) == query_data.limit else None
        return json_response({"results": [serialize_image(image) for image in page], "next_cursor": more})

    return api


def _batch_request() -> tuple[BatchRequest, str]:
    """The body, and a hash by which equal requests are known. An empty body asks for the defaults."""
    wanted = json_body(BatchRequest)
    try:
        canonical = json.dumps(wanted.model_dump(), sort_keys=True, allow_nan=False)
    except ValueError:
        raise Refused(422, "metadata: NaN and Infinity are no JSON") from None
    return wanted, hashlib.sha256(canonical.encode()).hexdigest()


def _check_tagger(tagger: str, pool: str, wanted: BatchRequest) -> None:
    if wrong := misplaced(wanted.options, tagger):
        errors = {f"options.{name}": [f"not of {tagger}"] for name in wrong}
        what = " and ".join(wrong)
        raise Refused(422, f"options: {what} are of florence2, and {pool} is a pool of {tagger}", errors=errors)


def _pool(services: Services, wanted: str | None) -> str:
    if wanted is None:
        return services.settings.default_pool
    if wanted not in services.settings.pools:
        known = ", ".join(services.settings.pools)
        raise Refused(422, f"tagger: there is no {wanted[:80]!r}; there are {known}", errors={"tagger": ["unknown"]})
    return wanted
