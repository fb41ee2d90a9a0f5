"""Answer every error with RFC 9457 problem details: what happened, to what, and the request's id in the log."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

from flask import Flask, Response, g
from pydantic import BaseModel, ConfigDict
from werkzeug.exceptions import HTTPException

from core.errors import Unavailable, WeightsInvalid, WeightsMissing
from core.telemetry import logger
from web_tier.catalog.batches import BatchClosed, KeyReused, NoSuchBatch
from web_tier.catalog.database import OutcomeUnknown
from web_tier.catalog.keys import NoSuchKey
from web_tier.catalog.lifecycle import BatchCancelled, NotCancellable
from web_tier.catalog.tags import NoSuchEdit, NoSuchImage
from web_tier.catalog.webhooks import NoSuchWebhook
from web_tier.http.multipart import BadMultipart
from web_tier.http.responses import encode_json

_RETRY_AFTER_S = 5
OUTCOME_UNKNOWN = "urn:tagfleet:outcome-unknown"
"""The type of a problem after which the change may still have been made."""
_STATUSES: dict[type[Exception], int] = {
    NoSuchBatch: 404,
    NoSuchImage: 404,
    NoSuchEdit: 404,
    NoSuchKey: 404,
    NoSuchWebhook: 404,
    WeightsMissing: 404,
    WeightsInvalid: 409,
    BatchClosed: 409,
    BatchCancelled: 409,
    NotCancellable: 409,
    KeyReused: 422,
    BadMultipart: 400,
}


class Problem(BaseModel):
    """RFC 9457. `request_id` names the request in the server's log; `errors` names each field that was wrong.

    `type` is `urn:tagfleet:outcome-unknown` if the change may have been made anyway: check before you repeat a
    request that is not idempotent.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "type": "about:blank",
                    "title": "Conflict",
                    "status": 409,
                    "detail": "batch bat_01mcc5rm009ndjwtegjtmx is closed and takes no more images; create another one",
                    "request_id": "req_01mcc5rm00x3h8d0c2k9fb",
                }
            ]
        }
    )
    type: str = "about:blank"
    title: str
    status: int
    detail: str
    request_id: str
    errors: dict[str, list[str]] | None = None


class Refused(Exception):
    """Ends a request with this status and sentence; `errors` names the wrong fields."""

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: dict[str, list[str]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.errors = errors
        self.headers = headers


def problem(
    status: int,
    detail: str,
    *,
    errors: dict[str, list[str]] | None = None,
    headers: Any = None,
    kind: str = "about:blank",
) -> Response:
    """Answer with a `Problem`."""
    body: dict[str, Any] = {
        "type": kind,
        "title": HTTPStatus(status).phrase,
        "status": status,
        "detail": detail,
        "request_id": g.get("request_id", ""),
    }
    if errors:
        body["errors"] = errors
    return Response(encode_json(body), status, headers, mimetype="application/problem+json")


def install(app: Flask) -> None:
    """Answer every error of `app` with a problem."""
    for kind in _STATUSES:
        app.register_error_handler(kind, _known)
    app.register_error_handler(Refused, _refused)
    app.register_error_handler(Unavailable, _unavailable)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unexpected)


def _known(error: Exception) -> Response:
    return problem(_STATUSES[type(error)], str(error))


def _refused(error: Refused) -> Response:
    return problem(error.status, error.detail, errors=error.errors, headers=error.headers)


def _unavailable(error: Unavailable) -> Response:
    logger().warning("request not served", reason=str(error))
    headers = {"Retry-After": str(_RETRY_AFTER_S)}
    if isinstance(error, OutcomeUnknown):
        return problem(503, f"{error}; check before you repeat it.", headers=headers, kind=OUTCOME_UNKNOWN)
    return problem(503, f"{error}. Try again in a few seconds.", headers=headers)


def _http(error: HTTPException) -> Response:
    status = error.code or 500
    headers = {name: value for name, value in error.get_headers() if name.lower() != "content-type"}
    return problem(status, _DETAILS.get(status) or error.description or error.name, headers=headers)


def _unexpected(error: Exception) -> Response:
    logger().error("request failed", exc_info=error)
    return problem(500, "Something went wrong in the server. Its log has the cause under this request's id.")


_DETAILS = {
    404: "There is nothing at this address; /openapi.json lists what there is.",
    413: "The request is too large; send several smaller ones. An operator can raise web.max_request_mb.",
}
