"""The API's own description at /openapi.json: the texts that belong to no single route."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Blueprint, Flask, Response

from web_tier.http import openapi
from web_tier.http.responses import json_response

_INFO = {
    "title": "Tagfleet",
    "version": "1",
    "description": """\
Create a batch, upload images into it, close it, and read the tags: page by page, or as they arrive by server-sent
events. Every error is a problem according to RFC 9457, with the id that the request has in the server's log. A request
without an answer may be sent again. One that creates a batch or edits tags needs the same `Idempotency-Key`; one that
creates a key or a webhook has no such key, so check first what exists.
""",
}
_TAGS = {
    "batches": "Sets of images that are tagged together",
    "images": "Single images and their results",
    "tags": "Correcting tags, and finding images by them",
    "fleet": "Workers, queues and the controller's decisions",
    "keys": "API keys and signing in",
    "webhooks": "URLs that receive an event when a batch ends",
    "health": "Health checks and metrics",
}


def describe(app: Flask) -> dict[str, Any]:
    """Return the OpenAPI document of the application."""
    return openapi.describe(app, info=_INFO, tags=_TAGS)


def blueprint(document: Callable[[], dict[str, Any]]) -> Blueprint:
    """`document` returns the description, once all routes are registered."""
    description = Blueprint("openapi", __name__)

    @description.get("/openapi.json")
    def get_description() -> Response:
        return json_response(document())

    return description
