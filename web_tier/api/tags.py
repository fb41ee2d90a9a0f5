"""Tags: correct and judge them, undo that, list them, and find the images that have them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from flask import Blueprint

from core.domain.ids import new_id
from web_tier.api.images import require_image
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
from web_tier.catalog.edits import TagDecision
from web_tier.catalog.tag_rows import TagFilter
from web_tier.catalog.tags import Edit, NotTagged
from web_tier.http.problems import Refused
from web_tier.http.request_parsing import idempotency_header, idempotency_key
from web_tier.http.routes import Resource
from web_tier.services.container import Services
from web_tier.services.serializers import serialize_image

_IDEMPOTENT = (idempotency_header("edit"),)
_NO_IMAGE = {404: "There is no such image"}
_NO_EDIT = {404: "There is no such image or batch, or it has no such edit"}


def blueprint(services: Services) -> Blueprint:
    tags = Resource("tags", tag="tags")
    _declare_edits(tags, services)
    _declare_bulk_edits(tags, services)
    _declare_search(tags, services)
    return tags.blueprint


def _declare_edits(tags: Resource, services: Services) -> None:
    """Declare the routes that correct one image."""

    def edited(image_id: str, verdicts: Sequence[TagDecision], feedback: str | None = None) -> dict[str, Any]:
        image = require_image(services, image_id)
        edit = Edit(_edit_id(services), verdicts, feedback=feedback)
        (after,) = services.tags.edit(image.batch_id, [image_id], edit, services.clock())
        services.feedback.publish([image_id])
        return {"image": serialize_image(after), "edit_id": edit.id}

    @tags.route(
        "PATCH /images/<image_id>/tags",
        scope="write",
        body=TagEdit,
        headers=_IDEMPOTENT,
        answer=EditedOut,
        errors=_NO_IMAGE,
    )
    def edit_tags(image_id: str, body: TagEdit) -> dict[str, Any]:
        """Correct the tags of an image

        What a person adds or removes takes precedence over every later result of a tagger. `edit_id` undoes it.
        """
        return edited(image_id, _verdicts(body))

    @tags.route("POST /images/<image_id>/tags/undo", scope="write", body=Undo, answer=ImageOut, errors=_NO_EDIT)
    def undo_edit(image_id: str, body: Undo) -> dict[str, Any]:
        """Undo an edit of an image's tags

        The tags become what they would be without that edit; other edits stay. Undoing it again changes nothing.
        """
        batch_id = require_image(services, image_id).batch_id
        (image,) = services.tags.undo(batch_id, body.edit_id, services.clock(), image_id)
        services.feedback.publish([image_id])
        return {"image": serialize_image(image)}

    @tags.route(
        "POST /images/<image_id>/feedback",
        scope="write",
        body=FeedbackRequest,
        headers=_IDEMPOTENT,
        answer=EditedOut,
        errors=_NO_IMAGE,
    )
    def give_feedback(image_id: str, body: FeedbackRequest) -> dict[str, Any]:
        """Say that a tag is right, wrong or missing

        It corrects the image: a tag that is accepted or added becomes a person's tag, and a rejected one is removed.
        Taggers that learn get it, like every other edit. `edit_id` undoes it.
        """
        try:
            return edited(image_id, [TagDecision(body.tag, wanted=body.verdict != "reject")], feedback=body.verdict)
        except NotTagged as error:
            raise Refused(422, str(error), errors={"tag": ["the image has no such tag"]}) from None


def _declare_bulk_edits(tags: Resource, services: Services) -> None:
    """Declare the routes that correct several images of a batch at once."""

    @tags.route(
        "PATCH /batches/<batch_id>/tags",
        scope="write",
        body=BulkEdit,
        headers=_IDEMPOTENT,
        answer=BulkEditedOut,
        errors={404: "There is no such batch, or some of these images are not in it"},
    )
    def edit_tags_of_many(batch_id: str, body: BulkEdit) -> dict[str, Any]:
        """Correct the tags of several images of a batch

        If one of them is missing, none is changed. `edit_id` undoes it for all.
        """
        edit = Edit(_edit_id(services), _verdicts(body))
        image_ids = list(dict.fromkeys(body.image_ids))
        images = services.tags.edit(batch_id, image_ids, edit, services.clock())
        services.feedback.publish(image_ids)
        return {"images": [serialize_image(image) for image in images], "edit_id": edit.id}

    @tags.route("POST /batches/<batch_id>/tags/undo", scope="write", body=Undo, answer=ImagesOut, errors=_NO_EDIT)
    def undo_edit_of_many(batch_id: str, body: Undo) -> dict[str, Any]:
        """Undo an edit for all images of a batch that it changed"""
        images = services.tags.undo(batch_id, body.edit_id, services.clock())
        services.feedback.publish([image.id for image in images])
        return {"images": [serialize_image(image) for image in images]}


def _declare_search(tags: Resource, services: Services) -> None:
    """Declare the routes that read the tags of all batches."""

    @tags.route("GET /tags", scope="read", query=TagsQuery, answer=TagsOut, errors={404: "There is no such batch"})
    def list_tags(query: TagsQuery) -> dict[str, Any]:
        """List the tags of all batches or of one, most frequent first"""
        found = services.tags.tags(query.q, query.limit, query.batch_id)
        return {"tags": [{"name": tag.name, "count": tag.count} for tag in found]}

    @tags.route("GET /images", scope="read", query=SearchQuery, answer=SearchOut)
    def search_images(query: SearchQuery) -> dict[str, Any]:
        """Find images of all batches by their tags, newest first"""
        wanted = TagFilter(query.tag or None, query.q or None, query.min_confidence)
        page = services.tags.search(wanted, query.limit, query.cursor)
        more = page[-1].id if len(page) == query.limit else None
        return {"images": [serialize_image(image) for image in page], "next_cursor": more}


def _edit_id(services: Services) -> str:
    """Return a new id, or the one that all requests with this Idempotency-Key share.

    A repeat with an id of its own would be a second edit: undoing one would leave the other.
    """
    key = idempotency_key()
    if key is None:
        return new_id("edt", services.clock())
    return f"edt_{hashlib.sha256(key.encode()).hexdigest()[:32]}"


def _verdicts(body: TagEdit) -> Sequence[TagDecision]:
    return [TagDecision(name, True) for name in body.add] + [TagDecision(name, False) for name in body.remove]
