"""Images whose bytes are here already: found by their sha256, and added without being sent again."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import Response

from web_tier.api.schemas.batches import CheckOut, CheckRequest, KnownOut, KnownRequest
from web_tier.catalog.batches import BatchClosed
from web_tier.http.request_parsing import json_body
from web_tier.http.responses import json_response
from web_tier.services.container import Services
from web_tier.services.serializers import serialize_image


def blueprint(services: Services) -> APIBlueprint:
    api = APIBlueprint("known_images", __name__, tag="images")

    @api.post("/images/check")
    @api.output(CheckOut)
    def check_images() -> Response:
        """Which images are here already, by the sha256 of their bytes

        Looks in one batch, or in all. The answer has those that are here, each with the id of its latest image.
        """
        wanted = json_body(CheckRequest)
        if wanted.batch_id is not None:
            services.catalog.change(wanted.batch_id)  # a batch that is not there is no empty one
        found = services.uploads.with_content(set(wanted.sha256), wanted.batch_id)
        return json_response({"known": {sha256: image.id for sha256, image in found.items()}})

    @api.post("/batches/<batch_id>/images/known")
    @api.output(KnownOut, status_code=201)
    @api.doc(responses={409: "The batch is closed", 503: "Try again later"})
    def add_known_images(batch_id: str) -> Response:
        """Add images by their sha256, without sending bytes that are here already

        The answer has one item for each, in their order, or null where the bytes have to be uploaded.
        """
        wanted = json_body(KnownRequest)
        batch = services.catalog.batch(batch_id)
        if batch.closed_at is not None:
            raise BatchClosed(batch_id)
        taken = services.ingest.take_known(batch, [(image.name, image.sha256) for image in wanted.images])
        return json_response({"images": [None if image is None else serialize_image(image) for image in taken]}, 201)

    return api
