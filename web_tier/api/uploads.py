"""Images come in: multipart bodies, streamed into the store, and what the store's own forms took."""

from __future__ import annotations

from collections.abc import Iterator

from apiflask import APIBlueprint
from flask import Response, request

from core.domain.ids import new_id
from core.storage import layout
from web_tier.api.schemas.batches import FormOut, FormRequest, KnownOut, UploadedRequest, UploadOut
from web_tier.catalog.batches import Batch, BatchClosed, Image
from web_tier.http.multipart import Part, parts
from web_tier.http.problems import Refused
from web_tier.http.request_parsing import json_body
from web_tier.http.responses import encode_json, json_response
from web_tier.services.container import Services
from web_tier.services.ingest import FIELD
from web_tier.services.serializers import serialize_image, to_iso

_MOST_TO_WAIT_FOR = 100
_FORM_S = 900


def blueprint(services: Services) -> APIBlueprint:
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
        batch = _open_batch(services, batch_id)
        request.max_content_length = services.settings.web.max_request_mb << 20
        boundary = request.mimetype_params.get("boundary")
        if request.mimetype != "multipart/form-data" or not boundary:
            raise Refused(415, "Send the images as multipart/form-data, each in a part named files.")
        others: set[str] = set()
        watched = _noting(parts(request.stream, boundary), others)
        ids: list[str] = []
        taken = [encode_json(serialize_image(image)) for image in _with_ids(services.ingest.take(batch, watched), ids)]
        if others and not taken:
            given = ", ".join(sorted(repr(name[:40]) for name in others)[:5])
            raise Refused(422, f"Send each image in a part named files; the request has only {given}.")
        applied = {}
        if len(ids) <= _MOST_TO_WAIT_FOR:
            applied = services.prefer_wait.until(
                lambda: not any(image.waits for image in services.uploads.accepted(ids))
            )
        if applied:
            taken = [encode_json(serialize_image(image)) for image in services.uploads.accepted(ids)]
        return Response(b'{"images":[' + b",".join(taken) + b"]}", 201, applied, mimetype="application/json")

    @api.post("/uploads")
    @api.output(FormOut, status_code=201)
    @api.doc(responses={404: "The store of this deployment takes no uploads itself", 409: "The batch is closed"})
    def create_upload() -> Response:
        """Get a form that takes one image straight into the store

        Afterwards name the image to `/batches/{batch_id}/images/uploaded`. Only some stores have such forms; where this
        one has none, send images to `/batches/{batch_id}/images`.
        """
        batch = _open_batch(services, json_body(FormRequest).batch_id)
        now = services.clock()
        image_id = new_id("img", now)
        form = services.backend.store.upload_form(
            layout.image_key(batch.id, image_id),
            content_type="application/octet-stream",
            max_bytes=services.settings.web.max_image_mb << 20,
            expires_s=_FORM_S,
        )
        if form is None:
            instead = f"send the images to /api/v1/batches/{batch.id}/images"
            raise Refused(404, f"The store of this deployment takes no uploads itself; {instead}.")
        shown = {"image_id": image_id, "url": form.url, "fields": form.fields, "expires_at": to_iso(now + _FORM_S)}
        return json_response(shown, 201)

    @api.post("/batches/<batch_id>/images/uploaded")
    @api.output(KnownOut, status_code=201)
    @api.doc(responses={409: "The batch is closed", 503: "Try again later"})
    def add_uploaded_images(batch_id: str) -> Response:
        """Add images whose bytes went straight into the store

        The answer has one item for each, in their order, or null where the store has no bytes.
        """
        batch = _open_batch(services, batch_id)
        wanted = json_body(UploadedRequest).images
        taken = services.ingest.take_stored(batch, [(image.image_id, image.name) for image in wanted])
        return json_response({"images": [None if image is None else serialize_image(image) for image in taken]}, 201)

    return api


def _open_batch(services: Services, batch_id: str) -> Batch:
    """Raises NoSuchBatch, BatchClosed."""
    batch = services.catalog.batch(batch_id)
    if batch.closed_at is not None:
        raise BatchClosed(batch_id)
    return batch


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
