"""JSON answers, encoded in one way wherever the service writes JSON."""

from __future__ import annotations

import json
from typing import Any

from flask import Response


def encode_json(value: Any) -> bytes:
    """Return compact UTF-8 JSON, with non-ASCII characters as they are."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def json_response(value: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    """Answer with `value` as JSON."""
    return Response(encode_json(value), status, headers, mimetype="application/json")
