"""The last strokes of the OpenAPI description: request bodies that are read by hand, errors as problems."""

from __future__ import annotations

import json
import re
from typing import Any, cast

from apiflask import APIFlask
from pydantic import BaseModel

from web_tier.api.schemas.access import KeyRequest, SessionRequest
from web_tier.api.schemas.batches import (
    BatchRequest,
    CheckRequest,
    FormRequest,
    KnownRequest,
    Problem,
    RetryRequest,
    UploadedRequest,
    UploadRequest,
)
from web_tier.api.schemas.examples import EXAMPLES
from web_tier.api.schemas.fleet import CapRequest, RedriveRequest
from web_tier.api.schemas.models import DefaultRequest
from web_tier.api.schemas.tags import BulkEdit, FeedbackRequest, TagEdit, Undo
from web_tier.api.schemas.webhooks import WebhookRequest
from web_tier.http.authentication import scope_of
from web_tier.http.prefer_wait import LONGEST_S

_PLACE = "#/components/schemas/"
_BODIES: dict[tuple[str, str], tuple[str, type[BaseModel], bool]] = {
    ("/api/v1/batches", "post"): ("application/json", BatchRequest, False),
    ("/api/v1/batches/{batch_id}/images", "post"): ("multipart/form-data", UploadRequest, True),
    ("/api/v1/batches/{batch_id}/images/known", "post"): ("application/json", KnownRequest, True),
    ("/api/v1/batches/{batch_id}/retry", "post"): ("application/json", RetryRequest, False),
    ("/api/v1/fleet/dead-letters/redrive", "post"): ("application/json", RedriveRequest, False),
    ("/api/v1/models/{name}/default", "put"): ("application/json", DefaultRequest, True),
    ("/api/v1/fleet/cap", "put"): ("application/json", CapRequest, True),
    ("/api/v1/batches/{batch_id}/images/uploaded", "post"): ("application/json", UploadedRequest, True),
    ("/api/v1/uploads", "post"): ("application/json", FormRequest, True),
    ("/api/v1/images/check", "post"): ("application/json", CheckRequest, True),
    ("/api/v1/batches/{batch_id}/tags", "patch"): ("application/json", BulkEdit, True),
    ("/api/v1/batches/{batch_id}/tags/undo", "post"): ("application/json", Undo, True),
    ("/api/v1/images/{image_id}/tags", "patch"): ("application/json", TagEdit, True),
    ("/api/v1/images/{image_id}/tags/undo", "post"): ("application/json", Undo, True),
    ("/api/v1/images/{image_id}/feedback", "post"): ("application/json", FeedbackRequest, True),
    ("/api/v1/keys", "post"): ("application/json", KeyRequest, True),
    ("/api/v1/session", "post"): ("application/json", SessionRequest, True),
    ("/api/v1/webhooks", "post"): ("application/json", WebhookRequest, True),
}
_WAIT = f"`wait=SECONDS`, {LONGEST_S} at most: answer when the results are there, or then as far as things are"
_OF_ONE_CALLER = "; names of other API keys are other names, and one that comes with another body is refused (422)"
_ONE_BATCH = f"Repeats of a request with the same name make no second batch{_OF_ONE_CALLER}"
_ONE_EDIT = f"Repeats of a request with the same name make no second edit{_OF_ONE_CALLER}"
_HEADERS = {
    ("/api/v1/batches", "post"): ("Idempotency-Key", _ONE_BATCH),
    ("/api/v1/batches/{batch_id}/tags", "patch"): ("Idempotency-Key", _ONE_EDIT),
    ("/api/v1/images/{image_id}/tags", "patch"): ("Idempotency-Key", _ONE_EDIT),
    ("/api/v1/images/{image_id}/feedback", "post"): ("Idempotency-Key", _ONE_EDIT),
    ("/api/v1/batches/{batch_id}/events", "get"): ("Last-Event-ID", "The last event that was seen"),
    ("/api/v1/batches/{batch_id}", "get"): ("Prefer", _WAIT),
    ("/api/v1/batches/{batch_id}/close", "post"): ("Prefer", _WAIT),
    ("/api/v1/batches/{batch_id}/images", "post"): ("Prefer", _WAIT),
    ("/api/v1/batches/{batch_id}/retry", "post"): ("Prefer", _WAIT),
}
_NO_KEY = {"/api/v1/session", "/healthz"}
_SCHEMES = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key made by `tagfleet keys create`; asked for wherever other machines can reach the server",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "tagfleet",
        "description": "What signing in with a key gives a browser; `__Host-tagfleet` where the server is behind TLS",
    },
}
_TAGS = {
    "batches": "Piles of images that are tagged together",
    "images": "Single images and what became of them",
    "tags": "Correcting tags, and finding images by them",
    "fleet": "Workers, queues and the controller's decisions",
    "keys": "Who may do what, and signing in",
    "webhooks": "Who is told when a batch ends",
    "health": "For those who watch the service",
}
_DESCRIPTION = """\
Create a batch, upload images into it, close it, and read the tags: page by page, or as they arrive by server-sent
events. Every error is a problem as RFC 9457 has it, with the id under which the server's log knows the request. A
request that got no answer may be sent again: creating a batch is safe with an `Idempotency-Key`, the rest as it is.
"""


def install(app: APIFlask) -> None:
    app.spec_processor(_finish)  # type: ignore[arg-type]  # the description is a dict: its format is JSON


def _finish(spec: dict[str, Any]) -> dict[str, Any]:
    schemas = spec["components"]["schemas"]
    for theirs in ("HTTPError", "ValidationError", "ValidationErrorDetail"):
        schemas.pop(theirs, None)
    described: list[type[BaseModel]] = [Problem, *(body[1] for body in _BODIES.values())]
    for model in described:
        schemas |= _schemas_of(model)
    for (path, method), (media_type, model, required) in _BODIES.items():
        body = {"schema": _reference(model)}
        spec["paths"][path][method]["requestBody"] = {"required": required, "content": {media_type: body}}
    for (path, method), (name, meaning) in _HEADERS.items():
        parameter = {"name": name, "in": "header", "description": meaning, "schema": {"type": "string"}}
        spec["paths"][path][method]["parameters"].append(parameter)
    spec["components"]["securitySchemes"] = _SCHEMES
    for address, path in spec["paths"].items():
        for method, operation in path.items():
            operation["security"] = _security(method, address)
            operation["responses"].setdefault("default", {"description": "Any other error"})
            for status, response in operation["responses"].items():
                if status >= "4":  # "default" too
                    response["content"] = {"application/problem+json": {"schema": _reference(Problem)}}
    spec["info"]["description"] = _DESCRIPTION
    used = {tag for path in spec["paths"].values() for operation in path.values() for tag in operation["tags"]}
    spec["tags"] = [{"name": tag, "description": meaning} for tag, meaning in _TAGS.items() if tag in used]
    spec["tags"] += [{"name": tag} for tag in sorted(used - set(_TAGS))]
    plain = _plain_names(spec)
    for name, example in EXAMPLES.items():
        plain["components"]["schemas"][name]["examples"] = [example]
    return plain


def _security(method: str, address: str) -> list[dict[str, list[str]]]:
    """The scope that a key or session needs; on loopback none is needed, which is the last, empty choice."""
    if address in _NO_KEY:
        return []
    scope = scope_of(method.upper(), address)
    return [{"key": [scope]}, {"session": [scope]}, {}]


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _PLACE + model.__name__}


def _schemas_of(model: type[BaseModel]) -> dict[str, Any]:
    schema = model.model_json_schema(ref_template=_PLACE + "{model}")
    return {**schema.pop("$defs", {}), model.__name__: schema}


def _plain_names(spec: dict[str, Any]) -> dict[str, Any]:
    """APIFlask copies a nested model for each that holds it (`BatchOut.TagOptions`); here one is enough."""
    schemas = spec["components"]["schemas"]
    spec["components"]["schemas"] = {name.rpartition(".")[2]: schema for name, schema in sorted(schemas.items())}
    plain = re.sub(rf'"{_PLACE}\w+\.(\w+)"', rf'"{_PLACE}\1"', json.dumps(spec))
    return cast(dict[str, Any], json.loads(plain))
