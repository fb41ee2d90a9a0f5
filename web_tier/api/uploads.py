"""Add images to a batch: as a multipart body, by the store's own upload form, or by the sha256 of known bytes."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Response, request

from core.domain.ids import new_id
from core.storage import layout
from web_tier.api.schemas.batches import (
    FormOut,
    FormRequest,
    KnownOut,
    KnownRequest,
    UploadedRequest,
    UploadOut,
    UploadRequest,
)
from web_tier.catalog.batches import Batch, BatchClosed, Image
from web_tier.http.multipart import Part, parts
from web_tier.http.prefer_wait import PREFER
from web_tier.http.problems import Refused
from web_tier.http.request_parsing import FORM, Body, open_body
from web_tier.http.responses import encode_json
from web_tier.http.routes import Answer, Resource
from web_tier.services.container import Services
from web_tier.services.ingest import FIELD
from web_tier.services.serializers import serialize_image, to_iso

_MAX_AWAITED = 100
_FORM_EXPIRES_S = 900
_MAX_FIELDS_NAMED = 5
_CLOSED = "The batch is closed"


def blueprint(services: Services) -> Blueprint:
    uploads = Resource("uploads", tag="batches")
    _declare_multipart(uploads, services)
    _declare_without_bytes(uploads, services)
    return uploads.blueprint


def _declare_multipart(uploads: Resource, services: Services) -> None:
    @uploads.route(
        "POST /batches/<batch_id>/images",
        scope="write",
        body=Body(UploadRequest, FORM),
        headers=(PREFER,),
        answer=Answer(UploadOut, 201),
        errors={
            400: "The body breaks off or is malformed",
            409: _CLOSED,
            413: "Too large",
            415: "Not multipart",
            503: "Try again later",
        },
    )
    def add_images(batch_id: str) -> Response:
        """Upload images into a batch

        Each part named `files` is one image, and its filename is the name. The answer has one item for each, in the
        same order; a file that is too large or empty is a failed item. The same name with the same content is stored
        once, however often it is sent, so an interrupted request can simply be sent again. With
        `Prefer: wait=SECONDS` a request of up to 100 images is answered when they have their results.
        """
        batch = _open_batch(services, batch_id)
        boundary = request.mimetype_params.get("boundary")
        if request.mimetype != FORM or not boundary:
            raise Refused(415, "Send the images as multipart/form-data, each in a part named files.")
        body = open_body(services.settings.web.max_request_mb << 20)
        other_fields: set[str] = set()
        ids: list[str] = []
        accepted = services.ingest.take(batch, _note_others(parts(body, boundary), other_fields))
        items = [encode_json(serialize_image(image)) for image in _note_ids(accepted, ids)]
        if other_fields and not items:
            given = ", ".join(sorted(repr(name[:40]) for name in other_fields))
            raise Refused(422, f"Send each image in a part named files; the request has only {given}.")
        applied = {}
        if len(ids) <= _MAX_AWAITED:
            applied = services.prefer_wait.until(
                lambda: not any(image.is_waiting for image in services.uploads.accepted(ids))
            )
        if applied:
            items = [encode_json(serialize_image(image)) for image in services.uploads.accepted(ids)]
        return Response(b'{"images":[' + b",".join(items) + b"]}", 201, applied, mimetype="application/json")


def _declare_without_bytes(uploads: Resource, services: Services) -> None:
    """Declare the routes for images whose bytes are in the store already, or go straight there."""

    @uploads.route(
        "POST /batches/<batch_id>/images/known",
        scope="write",
        body=KnownRequest,
        answer=Answer(KnownOut, 201),
        errors={409: _CLOSED, 503: "Try again later"},
    )
    def add_known_images(batch_id: str, body: KnownRequest) -> dict[str, Any]:
        """Add images by their sha256, without sending bytes that the service has already

        The answer has one item for each, in the same order, or null if its bytes have to be uploaded.
        """
        batch = _open_batch(services, batch_id)
        taken = services.ingest.take_known(batch, [(image.name, image.sha256) for image in body.images])
        return {"images": [None if image is None else serialize_image(image) for image in taken]}

    @uploads.route(
        "POST /uploads",
        scope="write",
        body=FormRequest,
        answer=Answer(FormOut, 201, secret=True),
        errors={404: "There is no such batch, or the store of this deployment has no upload forms", 409: _CLOSED},
    )
    def create_upload(body: FormRequest) -> dict[str, Any]:
        """Get a form that uploads one image straight into the store

        Afterwards name the image to `/batches/{batch_id}/images/uploaded`. Not every store has such forms; without them
        send images to `/batches/{batch_id}/images`.
        """
        batch = _open_batch(services, body.batch_id)
        now = services.clock()
        image_id = new_id("img", now)
        form = services.backend.store.upload_form(
            layout.image_key(batch.id, image_id),
            content_type="application/octet-stream",
            max_bytes=services.settings.web.max_image_mb << 20,
            expires_s=_FORM_EXPIRES_S,
        )
        if form is None:
            instead = f"send the images to /api/v1/batches/{batch.id}/images"
            raise Refused(404, f"The store of this deployment has no upload forms; {instead}.")
        expires_at = to_iso(now + _FORM_EXPIRES_S)
        return {"image_id": image_id, "url": form.url, "fields": form.fields, "expires_at": expires_at}

    @uploads.route(
        "POST /batches/<batch_id>/images/uploaded",
        scope="write",
        body=UploadedRequest,
        answer=Answer(KnownOut, 201),
        errors={409: _CLOSED, 503: "Try again later"},
    )
    def add_uploaded_images(batch_id: str, body: UploadedRequest) -> dict[str, Any]:
        """Add images whose bytes were uploaded straight into the store

        The answer has one item for each, in the same order, or null if the store doesn't have its bytes.
        """
        batch = _open_batch(services, batch_id)
        taken = services.ingest.take_stored(batch, [(image.image_id, image.name) for image in body.images])
        return {"images": [None if image is None else serialize_image(image) for image in taken]}


def _open_batch(services: Services, batch_id: str) -> Batch:
    """Return a batch that accepts images. Raises NoSuchBatch, BatchClosed."""
    batch = services.catalog.get_batch(batch_id)
    if batch.closed_at is not None:
        raise BatchClosed(batch_id)
    return batch


def _note_ids(images: Iterator[Image], ids: list[str]) -> Iterator[Image]:
    """Yield the images, and add their ids to `ids`."""
    for image in images:
        ids.append(image.id)
        yield image


def _note_others(incoming: Iterator[Part], fields: set[str]) -> Iterator[Part]:
    """Yield the parts, and add the names of the first few that hold no images to `fields`."""
    for part in incoming:
        if part.field != FIELD and len(fields) < _MAX_FIELDS_NAMED:
            fields.add(part.field)
        yield part
