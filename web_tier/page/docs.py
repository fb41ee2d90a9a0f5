"""Serve the page at /docs: the API's documentation for people, made from /openapi.json."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from flask import Blueprint, render_template
from markupsafe import Markup, escape

_SCHEMAS = "#/components/schemas/"
_CURL_FILE = "photo.jpg"


@dataclass(frozen=True)
class Field:
    """A parameter of an operation, or a field of a schema."""

    name: str
    type: Markup
    required: bool
    description: str


@dataclass(frozen=True)
class Answer:
    """An answer of an operation: its status and the schema of its body."""

    status: str
    type: Markup
    description: str


@dataclass(frozen=True)
class Operation:
    """A method on a path."""

    id: str
    method: str
    path: str
    title: Markup
    description: str
    parameters: list[Field]
    body: Markup | None
    example: str
    answers: list[Answer]


@dataclass(frozen=True)
class Group:
    """The operations of one tag."""

    name: str
    description: str
    operations: list[Operation]


@dataclass(frozen=True)
class Schema:
    """A JSON object of the API."""

    name: str
    description: str
    fields: list[Field]
    example: str


def blueprint(description: Callable[[], Any]) -> Blueprint:
    """`description` gives the OpenAPI document; it is asked once, for the first reader."""
    docs = Blueprint("docs", __name__, template_folder="templates")

    @cache
    def document() -> str:
        spec = description()
        schemas = list(_schemas_of(spec))
        return render_template("docs.html", info=spec["info"], groups=list(_groups(spec)), schemas=schemas, text=_text)

    @docs.get("/docs")
    def show() -> str:
        return document()

    return docs


def _groups(spec: dict[str, Any]) -> Iterator[Group]:
    for tag in spec["tags"]:
        operations = [
            _operation(spec, path, method, operation)
            for path, methods in spec["paths"].items()
            for method, operation in methods.items()
            if tag["name"] in operation["tags"]
        ]
        yield Group(tag["name"], tag.get("description", ""), operations)


def _operation(spec: dict[str, Any], path: str, method: str, operation: dict[str, Any]) -> Operation:
    body = operation.get("requestBody")
    return Operation(
        id=operation["operationId"],
        method=method.upper(),
        path=path,
        title=_inline(operation.get("summary", "")),
        description=operation.get("description", ""),
        parameters=[
            Field(each["name"], _type(each["schema"]), each.get("required", False), _where(each))
            for each in operation.get("parameters", ())
        ],
        body=_content(body) if body else None,
        example=_curl(spec, path, method, body),
        answers=[
            Answer(status, _content(answer), answer["description"])
            for status, answer in sorted(operation["responses"].items())
        ],
    )


def _where(parameter: dict[str, Any]) -> str:
    text = parameter.get("description") or parameter["schema"].get("description") or ""
    place = {"path": "in the path", "query": "in the query", "header": "a header"}.get(parameter["in"], "")
    return f"{place}. {text}" if text else place


def _content(described: dict[str, Any]) -> Markup:
    """Return the media types of a body, each with its schema."""
    found = [
        Markup("{} <span class='muted'>{}</span>").format(_type(content.get("schema", {})), media)
        for media, content in described.get("content", {}).items()
    ]
    return Markup(", ").join(found)


def _schemas_of(spec: dict[str, Any]) -> Iterator[Schema]:
    for name, schema in spec["components"]["schemas"].items():
        required = schema.get("required", ())
        fields = [
            Field(field, _type(described), field in required, described.get("description", ""))
            for field, described in schema.get("properties", {}).items()
        ]
        examples = schema.get("examples")
        yield Schema(name, schema.get("description", ""), fields, _pretty(examples[0]) if examples else "")


def _type(schema: dict[str, Any]) -> Markup:
    """Describe a schema in a few words; other schemas are links."""
    if reference := schema.get("$ref"):
        return Markup('<a href="#{0}">{0}</a>').format(reference.removeprefix(_SCHEMAS))
    if choices := schema.get("anyOf") or schema.get("oneOf") or schema.get("allOf"):
        return Markup(" or ").join(map(_type, choices))
    if "enum" in schema:
        return Markup(" | ").join(map(json.dumps, schema["enum"]))
    if "const" in schema:
        return escape(json.dumps(schema["const"]))
    if schema.get("type") == "array":
        return Markup("list of ") + (_type(schema["items"]) if schema.get("items") else "anything")
    if schema.get("type") == "object" and isinstance(schema.get("additionalProperties"), dict):
        return Markup("object of ") + _type(schema["additionalProperties"])
    return escape(" ".join([str(schema.get("type", "bytes")), *_bounds(schema)]))


def _bounds(schema: dict[str, Any]) -> Iterator[str]:
    low, high = (schema.get(name) for name in ("minimum", "maximum"))
    if low is not None and high is not None:
        yield f"{low}–{high}"
    elif low is not None:
        yield f"≥ {low}"
    if "default" in schema:
        yield f"= {json.dumps(schema['default'])}"


def _curl(spec: dict[str, Any], path: str, method: str, body: dict[str, Any] | None) -> str:
    """Return a curl command that works, with the schema's own example as the body."""
    words = [f"'http://127.0.0.1:8000{path}'"]
    if method != "get":
        words = ["-X", method.upper(), *words]
    for media, content in (body or {}).get("content", {}).items():
        if media == "multipart/form-data":
            words = [*words[2:], "-F", f"files=@{_CURL_FILE}"]  # curl posts a form by default
        elif examples := _schema(spec, content["schema"]).get("examples"):
            given = json.dumps(examples[0], ensure_ascii=False).replace("'", "'\\''")
            words += ["-H", f"'Content-Type: {media}'", "-d", f"'{given}'"]
    return " ".join(["curl", *words])


def _schema(spec: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    name = schema.get("$ref", "").removeprefix(_SCHEMAS)
    found: dict[str, Any] = spec["components"]["schemas"].get(name, schema)
    return found


def _pretty(example: Any) -> str:
    return json.dumps(example, indent=2, ensure_ascii=False)


def _text(text: str) -> Markup:
    """Render a docstring as HTML: paragraphs, and text between backticks as code."""
    paragraphs = [_inline(paragraph) for paragraph in text.split("\n\n") if paragraph.strip()]
    return Markup("").join(map(Markup("<p>{}</p>").format, paragraphs))


def _inline(text: str) -> Markup:
    pieces = [
        Markup("<code>{}</code>").format(piece) if number % 2 else escape(piece)
        for number, piece in enumerate(text.split("`"))
    ]
    return Markup("").join(pieces)
