"""Errors as RFC 9457 problem details: what happened, to what, and under which id the log has it."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, cast

from apiflask import APIFlask, HTTPError
from flask import Response, g
from werkzeug.exceptions import HTTPException

from core.errors import Unavailable, WeightsInvalid, WeightsMissing
from core.telemetry import logger
from web_tier.catalog.batches import BatchClosed, KeyReused, NoSuchBatch
from web_tier.catalog.database import OutcomeUnknown
from web_tier.catalog.keys import NoSuchKey
from web_tier.catalog.lifecycle import BatchCancelled, BatchStands
from web_tier.catalog.tags import NoSuchEdit, NoSuchImage
from web_tier.catalog.webhooks import NoSuchWebhook
from web_tier.http.multipart import BadMultipart
from web_tier.http.responses import encode_json

_RETRY_AFTER_S = 5
OUTCOME_UNKNOWN = "urn:tagfleet:outcome-unknown"
"""The type of a problem by which a change may have been made all the same."""
_OURS: dict[type[Exception], int] = {
    NoSuchBatch: 404,
    NoSuchImage: 404,
    NoSuchEdit: 404,
    NoSuchKey: 404,
    NoSuchWebhook: 404,
    WeightsMissing: 404,
    WeightsInvalid: 409,
    BatchClosed: 409,
    BatchCancelled: 409,
    BatchStands: 409,
    KeyReused: 422,
    BadMultipart: 400,
}


class Refused(Exception):
    """Ends a request with this status and sentence; `errors` names the fields that were wrong."""

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


def install(app: APIFlask) -> None:
    """Answer every error of `app` with a problem."""
    app.error_processor(_invalid)  # first: it takes all of werkzeug's errors too
    for kind in _OURS:
        app.register_error_handler(kind, _ours)
    app.register_error_handler(Refused, _refused)
    app.register_error_handler(Unavailable, _unavailable)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(Exception, _unexpected)


def _ours(error: Exception) -> Response:
    return problem(_OURS[type(error)], str(error))


def _refused(error: Refused) -> Response:
    return problem(error.status, error.detail, errors=error.errors, headers=error.headers)


def _unavailable(error: Unavailable) -> Response:
    logger().warning("request not served", reason=str(error))
    headers = {"Retry-After": str(_RETRY_AFTER_S)}
    if isinstance(error, OutcomeUnknown):
        return problem(503, f"{error}; look before you repeat it.", headers=headers, kind=OUTCOME_UNKNOWN)
    return problem(503, f"{error}. Try again in some seconds.", headers=headers)


def _http(error: HTTPException) -> Response:
    status = error.code or 500
    kept = {name: value for name, value in error.get_headers() if name.lower() != "content-type"}
    return problem(status, _SENTENCES.get(status) or error.description or error.name, headers=kept)


def _invalid(error: HTTPError) -> Response:
    """What APIFlask found wrong with a query: {"query": {field: [sentence]}}."""
    fields = cast(dict[str, dict[str, list[str]]], error.detail)
    errors = {name: sentences for place in fields.values() for name, sentences in place.items()}
    return problem(error.status_code, _summary(errors) or error.message or "", errors=errors)


def _unexpected(error: Exception) -> Response:
    logger().error("request failed", exc_info=error)
    return problem(500, "Something went wrong in the server. Its log has the cause under this request's id.")


def _summary(errors: dict[str, list[str]]) -> str:
    return "; ".join(f"{name}: {', '.join(sentences)}" for name, sentences in errors.items())


_SENTENCES = {
    404: "There is nothing at this address; /openapi.json lists what there is.",
    413: "The request is larger than the server takes (setting web.max_request_mb); send several smaller ones.",
}
