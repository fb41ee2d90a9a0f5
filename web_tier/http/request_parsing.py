"""JSON bodies, read by hand: their errors name the field, and their size has a limit of its own; idempotency keys."""

from __future__ import annotations

from typing import TypeVar

from flask import g, request
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import RequestEntityTooLarge

from web_tier.catalog.keys import Key
from web_tier.http.problems import Refused

M = TypeVar("M", bound=BaseModel)

_MAX_JSON = 1 << 20
_MAX_KEY = 255


def json_body(kind: type[M], *, most: int = _MAX_JSON) -> M:
    """Return the request's JSON of `most` bytes at most; an empty body stands for {}.

    Raises Refused, which names the fields that are wrong.
    """
    data = _data(most)
    try:
        return kind.model_validate_json(data or b"{}", strict=True)  # `true` is no 1
    except ValidationError as error:
        found = error.errors(include_url=False)
        errors = {".".join(map(str, one["loc"])) or "body": [_sentence(one["msg"])] for one in found}
        raise Refused(422, "; ".join(f"{name}: {said[0]}" for name, said in errors.items()), errors=errors) from None


def _data(most: int) -> bytes:
    request.max_content_length = most + 1  # what is in chunks is cut there without a word
    try:
        data = request.get_data()
    except RequestEntityTooLarge:
        data = b" " * (most + 1)
    if len(data) > most:
        size = f"{most >> 20} MB" if most >= 1 << 20 else f"{most >> 10} kB"
        raise Refused(413, f"The JSON of this request may have {size} at most; send several smaller ones.")
    return data


def _sentence(said: str) -> str:
    """What our own checks say, without pydantic's words before it."""
    return said.removeprefix("Value error, ")


def idempotency_key() -> str | None:
    """Return the request's Idempotency-Key within the scope of its API key, or None where it has none.

    Two API keys never share a name, and neither does a caller without one. A session has the scope of its API key.
    A caller without an API key has its names stored as they were sent: a header holds no line break, so that no such
    name equals one with a scope. Raises Refused for a name of a wrong length.
    """
    name = request.headers.get("Idempotency-Key")
    if name is None:
        return None
    if not 0 < len(name) <= _MAX_KEY:
        raise Refused(422, f"The Idempotency-Key must have 1 to {_MAX_KEY} characters.")
    caller: Key | None = g.get("key")
    return name if caller is None else f"{caller.id}\n{name}"
