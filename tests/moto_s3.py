"""Correct moto's S3 where it differs from AWS's documentation."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

from moto.s3.responses import S3Response

_post = S3Response._bucket_response_post


def apply() -> None:
    """Replace moto's functions by those of this module."""
    S3Response._bucket_response_post = _post_by_policy


def _post_by_policy(response: S3Response, request, bucket_name: str):
    """Enforce a form's policy and keep the form's content type; moto ignores both.

    "The POST policy always contains the expiration and conditions elements. [...] If the form does not meet the
    conditions, the upload is refused." https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-HTTPPOSTConstructPolicy.html
    """
    fields = {name.lower(): value for name, value in request.form.items()}
    if "policy" not in fields:
        return _post(response, request, bucket_name)
    refusal = _refusal(json.loads(base64.b64decode(fields["policy"])), {**fields, "bucket": bucket_name}, response.body)
    if refusal:
        code, status = refusal
        return status, {}, f"<Error><Code>{code}</Code><Message>Invalid according to Policy</Message></Error>"
    answer = _post(response, request, bucket_name)
    stored = response.backend.get_object(bucket_name, fields["key"])
    stored.set_metadata({"Content-Type": fields.get("content-type", "binary/octet-stream")})
    return answer


def _refusal(policy: dict, fields: dict[str, str], body: bytes) -> tuple[str, int] | None:
    if datetime.fromisoformat(policy["expiration"]) < datetime.now(UTC):
        return "AccessDenied", 403
    for condition in policy["conditions"]:
        if isinstance(condition, dict):
            [(name, wanted)] = condition.items()
            holds = fields.get(name.lower()) == wanted
        elif condition[0] == "content-length-range":
            if len(body) > condition[2]:
                return "EntityTooLarge", 400
            if len(body) < condition[1]:
                return "EntityTooSmall", 400
            holds = True
        else:
            operator, name, wanted = condition
            found = fields.get(name.lstrip("$").lower(), "")
            holds = found.startswith(wanted) if operator == "starts-with" else found == wanted
        if not holds:
            return "AccessDenied", 403
    return None
