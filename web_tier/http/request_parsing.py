"""Parse queries, JSON bodies and idempotency keys; what is wrong becomes a problem that names the field."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, TypeVar, cast

from flask import g, request
from pydantic import BaseModel, ValidationError
from werkzeug.exceptions import RequestEntityTooLarge

from config.validation import Problem, problems
from web_tier.catalog.keys import Key
from web_tier.http.problems import Refused
from web_tier.server import body as server_body

M = TypeVar("M", bound=BaseModel)

JSON = "application/json"
FORM = "multipart/form-data"

_MAX_JSON = 1 << 20
_MAX_IDEMPOTENCY_KEY = 255


@dataclass(frozen=True)
class Header:
    """A request header that a route understands."""

    name: str
    description: str


@dataclass(frozen=True)
class Body:
    """The body of a request: its schema and media type, and for JSON how many bytes it may have.

    The view reads a body of another media type itself.
    """

    schema: type[BaseModel]
    media_type: str = JSON
    max_bytes: int = _MAX_JSON

    @property
    def is_json(self) -> bool:
        return self.media_type == JSON

    @property
    def required(self) -> bool:
        """Whether the schema refuses {}, which is what an empty body means."""
        try:
            self.schema.model_validate({})
        except ValidationError:
            return True
        return False


def parse_body(body: Body) -> BaseModel:
    """Return the request's JSON as the body's schema; an empty body means {}.

    Raises Refused: 413 for too many bytes, 422 with the names of the wrong fields.
    """
    data = _read(body.max_bytes)
    try:
        return body.schema.model_validate_json(data or b"{}", strict=True)  # strict: `true` is not 1
    except ValidationError as error:
        raise _refused("body", problems(error)) from None


def open_body(max_bytes: int) -> IO[bytes]:
    """Return a body to read as it comes, for a view that reads it itself. Refuses one that is larger (413)."""
    request.max_content_length = max_bytes
    limited: IO[bytes] = request.stream
    own = request.environ["wsgi.input"]
    if isinstance(own, server_body.Body) and request.content_length is not None:
        return cast(IO[bytes], own)  # the server ends it at this length; `limited` would copy every byte three times
    return limited


def parse_query(schema: type[M]) -> M:
    """Return the query of the address as `schema`. Raises Refused (422) with the names of the wrong fields."""
    try:
        return schema.model_validate(request.args.to_dict())
    except ValidationError as error:
        raise _refused("query", problems(error)) from None


def idempotency_header(made: str) -> Header:
    """Declare Idempotency-Key for a route that creates a `made`: repeats create no second one."""
    return Header(
        "Idempotency-Key",
        f"Repeats of a request with the same key make no second {made}. Keys count for each API key on its own. A"
        " repeat with another body is refused (422)",
    )


def idempotency_key() -> str | None:
    """Return the request's Idempotency-Key within the scope of its API key, or None if it has none.

    Two API keys never share a name, nor does a caller without one. A session has the scope of its API key. The names of
    callers without an API key are stored as they were sent: a header holds no line break, so no such name equals one
    with a scope. Raises Refused for a name of a wrong length.
    """
    name = request.headers.get("Idempotency-Key")
    if name is None:
        return None
    if not 0 < len(name) <= _MAX_IDEMPOTENCY_KEY:
        raise Refused(422, f"The Idempotency-Key must have 1 to {_MAX_IDEMPOTENCY_KEY} characters.")
    key: Key | None = g.get("key")
    return name if key is None else f"{key.id}\n{name}"


def _read(max_bytes: int) -> bytes:
    request.max_content_length = max_bytes + 1  # a chunked body is cut there without an error
    try:
        data = request.get_data()
    except RequestEntityTooLarge:
        data = b" " * (max_bytes + 1)
    if len(data) > max_bytes:
        limit = f"{max_bytes >> 20} MB" if max_bytes >= 1 << 20 else f"{max_bytes >> 10} kB"
        raise Refused(413, f"The JSON of this request may have {limit} at most; send several smaller requests.")
    return data


def _refused(whole: str, found: Iterable[Problem]) -> Refused:
    """Return the refusal that names each wrong field once, or `whole` if no single field is wrong."""
    errors: dict[str, list[str]] = {}
    for problem in found:
        errors.setdefault(problem.where or whole, []).append(problem.what)
    detail = "; ".join(f"{name}: {', '.join(sentences)}" for name, sentences in errors.items())
    return Refused(422, detail, errors=errors)
