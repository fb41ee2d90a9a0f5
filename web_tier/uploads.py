"""Images come in: multipart bodies, streamed into the store."""

from __future__ import annotations

from collections.abc import Iterator

from apiflask import APIBlueprint
from flask import Response, request

from web_tier.catalog import BatchClosed, Image
from web_tier.intake import FIELD
from web_tier.multipart import Part, parts
from web_tier.parts import Parts
from web_tier.present import encoded, item
from web_tier.problems import Refused
from web_tier.schemas import UploadOut

_MOST_TO_WAIT_FOR = 100


def blueprint(own: Parts) -> APIBlueprint:
    api = APIBlueprint("uploads", __name__, tag="batches")

    @api.post("/batches/<batch_id>/images")
    @api.output(UploadOut, status_code=201)
    @api.doc(responses={409: "The batch is closed", 413: "Too large", 415: "Not multipart", 503: "Try again later"})
    def add_images(batch_id: str) -> Response:
        """Upload images into a batch

        Each part named `files` is one image, its filename the name. The answer has one item for each, in their
        order; a file that is too large or empty is an item that failed. The same name with the same content is
        taken once, however often it is sent, so a request that broke off can simply be sent again.
        With `Prefer: wait=SECONDS` a request of up to 100 images is answered when they have their results.
        """
        batch = own.catalog.batch(batch_id)
        if batch.closed_at is not None:
            raise BatchClosed(batch_id)
        request.max_content_length = own.settings.web.max_request_mb << 20
        boundary = request.mimetype_params.get("boundary")
        if request.mimetype != "multipart/form-data" or not boundary:
            raise Refused(415, "Send the images as multipart/form-data, each in a part named files.")
        others: set[str] = set()
        watched = _noting(parts(request.stream, boundary), others)
        ids: list[str] = []
        taken = [encoded(item(image)) for image in _with_ids(own.intake.take(batch, watched), ids)]
        if others and not taken:
            given = ", ".join(sorted(repr(name[:40]) for name in others)[:5])
            raise Refused(422, f"Send each image in a part named files; the request has only {given}.")
        applied = {}
        if len(ids) <= _MOST_TO_WAIT_FOR:
            applied = own.waits.until(lambda: not any(image.waits for image in own.uploads.accepted(ids)))
        if applied:
            taken = [encoded(item(image)) for image in own.uploads.accepted(ids)]
        return Response(b'{"images":[' + b",".join(taken) + b"]}", 201, applied, mimetype="application/json")

    return api


def _with_ids(images: Iterator[Image], ids: list[str]) -> Iterator[Image]:
    """The same images; their ids go into `ids`."""
    for image in images:
        ids.append(image.id)
        yield image


def _noting(incoming: Iterator[Part], others: set[str]) -> Iterator[Part]:
    """The same parts; the names of those that hold no images go into `others`."""
    for part in incoming:
        if part.field != FIELD and len(others) < 5:
            others.add(part.field)
        yield part
