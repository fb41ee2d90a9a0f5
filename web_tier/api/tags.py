"""Tags: correct them, judge them, take it back; which there are, and the images that have them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from apiflask import APIBlueprint
from flask import Response

from core.domain.ids import new_id
from web_tier.api.schemas.tags import (
    BulkEdit,
    BulkEditedOut,
    EditedOut,
    FeedbackRequest,
    ImageOut,
    ImagesOut,
    SearchOut,
    SearchQuery,
    TagEdit,
    TagsOut,
    TagsQuery,
    Undo,
)
from web_tier.catalog.batches import Image
from web_tier.catalog.edits import Verdict
from web_tier.catalog.tag_rows import Tagged
from web_tier.catalog.tags import Edit, NoSuchImage, NotTagged
from web_tier.http.problems import Refused
from web_tier.http.request_parsing import idempotency_key, json_body
from web_tier.http.responses import json_response
from web_tier.services.container import Services
from web_tier.services.serializers import serialize_image

_NO_IMAGE: Any = {404: "There is no such image"}
_NO_EDIT: Any = {404: "There is no such image or batch, or it has no such edit"}


def blueprint(services: Services) -> APIBlueprint:
    api = APIBlueprint("tags", __name__, tag="tags")
    _correcting(api, services)
    _in_bulk(api, services)
    _searching(api, services)
    return api


def _correcting(api: APIBlueprint, services: Services) -> None:
    @api.patch("/images/<image_id>/tags")
    @api.output(EditedOut)
    @api.doc(responses=_NO_IMAGE)
    def edit_tags(image_id: str) -> Response:
        """Correct the tags of an image

        What a person adds or removes stands over whatever the tagger says later. `edit_id` takes it back.
        """
        wanted = json_body(TagEdit)
        edit = Edit(_edit_id(services), _verdicts(wanted))
        return _edited(services, _image(services, image_id), edit)

    @api.post("/images/<image_id>/tags/undo")
    @api.output(ImageOut)
    @api.doc(responses=_NO_EDIT)
    def undo_edit(image_id: str) -> Response:
        """Take an edit of an image's tags back

        The tags are as if that edit had never been; other edits stay. Doing it twice does it once.
        """
        wanted = json_body(Undo)
        batch_id = _image(services, image_id).batch_id
        (image,) = services.tags.undo(batch_id, wanted.edit_id, services.clock(), image_id)
        services.feedback.publish([image_id])
        return json_response({"image": serialize_image(image)})

    @api.post("/images/<image_id>/feedback")
    @api.output(EditedOut)
    @api.doc(responses=_NO_IMAGE)
    def give_feedback(image_id: str) -> Response:
        """Say that a tag is right, wrong or missing

        It corrects the image: what is accepted or added is a person's tag from then on, what is rejected goes. Taggers
        that learn are told of it, as of every other edit. `edit_id` takes it back.
        """
        wanted = json_body(FeedbackRequest)
        verdict = Verdict(wanted.tag, wanted=wanted.verdict != "reject")
        try:
            return _edited(
                services, _image(services, image_id), Edit(_edit_id(services), [verdict], feedback=wanted.verdict)
            )
        except NotTagged as error:
            raise Refused(422, str(error), errors={"tag": ["the image has no such tag"]}) from None


def _in_bulk(api: APIBlueprint, services: Services) -> None:
    @api.patch("/batches/<batch_id>/tags")
    @api.output(BulkEditedOut)
    @api.doc(responses={404: "There is no such batch, or it has not all of these images"})
    def edit_tags_of_many(batch_id: str) -> Response:
        """Correct the tags of several images of a batch

        All of them or, where one is missing, none. `edit_id` takes it back.
        """
        wanted = json_body(BulkEdit)
        edit = Edit(_edit_id(services), _verdicts(wanted))
        image_ids = list(dict.fromkeys(wanted.image_ids))
        images = services.tags.edit(batch_id, image_ids, edit, services.clock())
        services.feedback.publish(image_ids)
        return json_response({"images": [serialize_image(image) for image in images], "edit_id": edit.id})

    @api.post("/batches/<batch_id>/tags/undo")
    @api.output(ImagesOut)
    @api.doc(responses=_NO_EDIT)
    def undo_edit_of_many(batch_id: str) -> Response:
        """Take an edit back from all images of a batch that it touched"""
        wanted = json_body(Undo)
        images = services.tags.undo(batch_id, wanted.edit_id, services.clock())
        services.feedback.publish([image.id for image in images])
        return json_response({"images": [serialize_image(image) for image in images]})


def _searching(api: APIBlueprint, services: Services) -> None:
    @api.get("/tags")
    @api.input(TagsQuery, location="query")
    @api.output(TagsOut)
    def list_tags(query_data: TagsQuery) -> Response:
        """List the tags of all batches, the most frequent first"""
        found = services.tags.tags(query_data.q, query_data.limit)
        return json_response({"tags": [{"name": tag.name, "count": tag.count} for tag in found]})

    @api.get("/images")
    @api.input(SearchQuery, location="query")
    @api.output(SearchOut)
    def search_images(query_data: SearchQuery) -> Response:
        """Find images of all batches by their tags, the newest first"""
        wanted = Tagged(query_data.tag or None, query_data.q or None, query_data.min_confidence)
        page = services.tags.search(wanted, query_data.limit, query_data.cursor)
        more = page[-1].id if len(page) == query_data.limit else None
        return json_response({"images": [serialize_image(image) for image in page], "next_cursor": more})


def _edit_id(services: Services) -> str:
    """New, or the same for all requests with one Idempotency-Key: without it undoing one repeat would leave another."""
    key = idempotency_key()
    if key is None:
        return new_id("edt", services.clock())
    return f"edt_{hashlib.sha256(key.encode()).hexdigest()[:32]}"


def _verdicts(wanted: TagEdit) -> Sequence[Verdict]:
    return [Verdict(name, True) for name in wanted.add] + [Verdict(name, False) for name in wanted.remove]


def _edited(services: Services, image: Image, edit: Edit) -> Response:
    (after,) = services.tags.edit(image.batch_id, [image.id], edit, services.clock())
    services.feedback.publish([image.id])
    return json_response({"image": serialize_image(after), "edit_id": edit.id})


def _image(services: Services, image_id: str) -> Image:
    image = services.catalog.image(image_id)
    if image is None:
        raise NoSuchImage(f"there is no image {image_id[:80]!r}")
    return image
