"""What becomes of a batch: cancelled, tried again, deleted."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import Response

from web_tier.api.schemas.batches import BatchOut, RetryOut, RetryRequest
from web_tier.http.request_parsing import json_body
from web_tier.http.responses import json_response
from web_tier.services.container import Services


def blueprint(services: Services) -> APIBlueprint:
    api = APIBlueprint("batch_actions", __name__, tag="batches")

    @api.post("/batches/<batch_id>/cancel")
    @api.output(BatchOut)
    @api.doc(responses={409: "The batch gathers dropped files"})
    def cancel_batch(batch_id: str) -> Response:
        """Cancel a batch: results that are there stay, images that still wait become `cancelled`

        It holds at once, however large the batch is; who follows it gets each image's event after that. A batch that
        has ended stays as it is; one that gathers files dropped into a bucket cannot be cancelled.
        """
        return json_response(services.serialize_batch(services.lifecycle.cancel(batch_id)))

    @api.post("/batches/<batch_id>/retry")
    @api.output(RetryOut)
    @api.doc(responses={409: "The batch was cancelled"})
    def retry_batch(batch_id: str) -> Response:
        """Have failed images of a batch tagged anew: those that are named, or all

        Files that were refused at their upload stay failed, as their bytes were not kept. `Prefer: wait=SECONDS`
        delays the answer until the batch has ended.
        """
        count = services.lifecycle.retry(batch_id, json_body(RetryRequest).image_ids)
        applied = services.prefer_wait.until(lambda: services.catalog.batch(batch_id).ended)
        return json_response(
            {"retried": count, "batch": services.serialize_batch(services.catalog.batch(batch_id))}, headers=applied
        )

    @api.delete("/batches/<batch_id>")
    @api.output({}, status_code=204)
    def delete_batch(batch_id: str) -> tuple[str, int]:
        """Delete a batch with all its images, thumbnails and results

        It is gone for everybody at once, however large it is; the last bytes go within minutes. Files that were
        dropped into a bucket stay there.
        """
        services.lifecycle.delete(batch_id)
        return "", 204

    return api
