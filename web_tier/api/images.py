"""Single images: the item, its thumbnail, and which of them the service has already."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from web_tier.api.schemas.batches import CheckOut, CheckRequest, ItemOut
from web_tier.catalog.batches import Image
from web_tier.catalog.tags import NoSuchImage
from web_tier.http.routes import Answer, Resource
from web_tier.services.container import Services
from web_tier.services.serializers import serialize_image

_PLACEHOLDER = (
    '<svg xmlns="http://www.w3.org/2000/svg" width="256" height="256" viewBox="0 0 256 256">'
    '<rect width="256" height="256" fill="#8a8f98" fill-opacity=".18"/>'
    '<g fill="none" stroke="#8a8f98" stroke-width="8" stroke-linejoin="round" stroke-linecap="round">'
    '<rect x="64" y="80" width="128" height="96" rx="8"/><path d="M72 164l36-40 24 26 20-20 32 34M64 72l128 112"/>'
    "</g></svg>"
)
_SHORT = "private, max-age=300"
_FOREVER = "private, max-age=31536000, immutable"


def blueprint(services: Services) -> Blueprint:
    images = Resource("images", tag="images")

    @images.route("GET /images/<image_id>", scope="read", answer=ItemOut)
    def get_image(image_id: str) -> dict[str, Any]:
        """Get an image and its result"""
        return serialize_image(require_image(services, image_id))

    @images.route(
        "GET /images/<image_id>/thumbnail",
        scope="read",
        answer=Answer(
            {"image/jpeg": {}, "image/svg+xml": {}},
            description="A JPEG of 256 pixels at most, or a neutral SVG if the image can't be shown",
        ),
    )
    def get_thumbnail(image_id: str) -> Response:
        """Get a small picture of an image"""
        jpeg = services.thumbnails.jpeg(require_image(services, image_id))
        if jpeg is None:
            return Response(_PLACEHOLDER, mimetype="image/svg+xml", headers={"Cache-Control": _SHORT})
        return Response(jpeg, mimetype="image/jpeg", headers={"Cache-Control": _FOREVER})

    @images.route(
        "POST /images/check", scope="write", body=CheckRequest, answer=CheckOut, errors={404: "There is no such batch"}
    )
    def check_images(body: CheckRequest) -> dict[str, Any]:
        """Find images that the service already has, by the sha256 of their bytes

        Looks in one batch, or in all. The answer maps each sha256 that was found to its latest image's id.
        """
        if body.batch_id is not None:
            services.catalog.read_change(body.batch_id)  # a batch that doesn't exist is a 404 and not an empty one
        found = services.uploads.with_content(set(body.sha256), body.batch_id)
        return {"known": {sha256: image.id for sha256, image in found.items()}}

    return images.blueprint


def require_image(services: Services, image_id: str) -> Image:
    """Return an image. Raises NoSuchImage."""
    image = services.catalog.find_image(image_id)
    if image is None:
        raise NoSuchImage(f"there is no image {image_id[:80]!r}")
    return image
