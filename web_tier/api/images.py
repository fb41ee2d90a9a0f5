"""Single images: the item and its thumbnail."""

from __future__ import annotations

from typing import Any

from apiflask import APIBlueprint
from flask import Response

from web_tier.api.schemas.batches import ItemOut
from web_tier.catalog.batches import Image
from web_tier.http.problems import Refused
from web_tier.http.responses import json_response
from web_tier.services.container import Services
from web_tier.services.serializers import serialize_image

_PLACEHOLDER = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="256" height="256" viewBox="0 0 256 256">'
    '<rect width="256" height="256" fill="#8a8f98" fill-opacity=".18"/>'
    '<g fill="none" stroke="#8a8f98" stroke-width="8" stroke-linejoin="round" stroke-linecap="round">'
    '<rect x="64" y="80" width="128" height="96" rx="8"/><path d="M72 164l36-40 24 26 20-20 32 34M64 72l128 112"/>'
    "</g></svg>"
)

_RESPONSES: Any = {
    200: {
        "description": "A JPEG of 256 pixels at most, or a neutral SVG where the image cannot be shown",
        "content": {"image/jpeg": {}, "image/svg+xml": {}},
    }
}


def blueprint(services: Services) -> APIBlueprint:
    api = APIBlueprint("images", __name__, tag="images")

    @api.get("/images/<image_id>")
    @api.output(ItemOut)
    def get_image(image_id: str) -> Response:
        """Look at an image and its result"""
        return json_response(serialize_image(_image(services, image_id)))

    @api.get("/images/<image_id>/thumbnail")
    @api.doc(responses=_RESPONSES)
    def get_thumbnail(image_id: str) -> Response:
        """A small picture of an image"""
        image = _image(services, image_id)
        jpeg = services.thumbnails.jpeg(image)
        if jpeg is None:
            return _cached(Response(_PLACEHOLDER, mimetype="image/svg+xml"), "private, max-age=300")
        return _cached(Response(jpeg, mimetype="image/jpeg"), "private, max-age=31536000, immutable")

    return api


def _image(services: Services, image_id: str) -> Image:
    image = services.catalog.image(image_id)
    if image is None:
        raise Refused(404, f"there is no image {image_id[:80]!r}")
    return image


def _cached(response: Response, policy: str) -> Response:
    response.headers["Cache-Control"] = policy
    return response
