"""Write the OpenAPI description from the routes that an application declares."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, models_json_schema

from web_tier.http.problems import Problem
from web_tier.http.routes import Route, Scope, declared_routes

_SCHEMAS = "#/components/schemas/"
_SECURITY_SCHEMES = {
    "key": {
        "type": "http",
        "scheme": "bearer",
        "description": "A key made by `tagfleet keys create`. Every server that other machines can reach asks for one",
    },
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": "tagfleet",
        "description": "The cookie a browser gets for signing in with a key; `__Host-tagfleet` if the server is behind"
        " TLS",
    },
}


class _InOrder(GenerateJsonSchema):
    """Keeps the order of keys, which pydantic would sort in examples too."""

    def sort(self, value: JsonSchemaValue, parent_key: str | None = None) -> JsonSchemaValue:
        return value


def describe(app: Flask, *, info: Mapping[str, str], tags: Mapping[str, str]) -> dict[str, Any]:
    """Return the OpenAPI document. `tags` are the headings that routes name, each with its description."""
    routes = declared_routes(app)
    paths: dict[str, dict[str, Any]] = {}
    for path, route in routes:
        paths.setdefault(_template(path), {})[route.method.lower()] = _operation(path, route)
    models: list[type[BaseModel]] = [Problem, *(model for _, route in routes for model in schemas_of(route))]
    _, schemas = models_json_schema(
        [(model, "validation") for model in dict.fromkeys(models)],
        ref_template=_SCHEMAS + "{model}",
        schema_generator=_InOrder,
    )
    used = {route.tag for _, route in routes}
    return {
        "openapi": "3.1.0",
        "info": dict(info),
        "tags": [{"name": tag, "description": text} for tag, text in tags.items() if tag in used],
        "paths": paths,
        "components": {"schemas": dict(sorted(schemas["$defs"].items())), "securitySchemes": _SECURITY_SCHEMES},
    }


def schemas_of(route: Route) -> Iterator[type[BaseModel]]:
    """Yield the schemas of the body and of the JSON answer."""
    if route.body is not None:
        yield route.body.schema
    if isinstance(route.answer.content, type):
        yield route.answer.content


def _template(path: str) -> str:
    return re.sub(r"<(\w+)>", r"{\1}", path)


def _operation(path: str, route: Route) -> dict[str, Any]:
    summary, _, description = (route.view.__doc__ or "").partition("\n")
    described: dict[str, Any] = {
        "operationId": route.view.__name__,
        "tags": [route.tag],
        "summary": summary.strip(),
        "description": "\n".join(line.strip() for line in description.strip().splitlines()),
        "parameters": [*_path_parameters(path), *_query_parameters(route), *_header_parameters(route)],
        "responses": _responses(path, route),
        "security": _security(route.scope),
    }
    if route.body is not None:
        content = {route.body.media_type: {"schema": _reference(route.body.schema)}}
        described["requestBody"] = {"required": route.body.required, "content": content}
    return {name: value for name, value in described.items() if name != "description" or value}


def _path_parameters(path: str) -> Iterator[dict[str, Any]]:
    for name in re.findall(r"<(\w+)>", path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}


def _query_parameters(route: Route) -> Iterator[dict[str, Any]]:
    if route.query is None:
        return
    schema = route.query.model_json_schema()
    for name, described in schema["properties"].items():
        description = {"description": described.pop("description")} if "description" in described else {}
        required = name in schema.get("required", ())
        yield {"name": name, "in": "query", "required": required, **description, "schema": described}


def _header_parameters(route: Route) -> Iterator[dict[str, Any]]:
    for header in route.headers:
        yield {"name": header.name, "in": "header", "description": header.description, "schema": {"type": "string"}}


def _responses(path: str, route: Route) -> dict[str, Any]:
    content = route.answer.content
    if isinstance(content, type):
        content = {"application/json": {"schema": _reference(content)}}
    failures: dict[str, str] = {}
    if "<" in path:
        failures["404"] = "Not found"
    if route.query is not None or route.body is not None:
        failures["422"] = "The request is not as described; `errors` names the fields"
    failures |= {str(status): text for status, text in route.errors.items()}
    failures["default"] = "Any other error"
    responses: dict[str, Any] = {}
    for status, text in {route.answer.status: route.answer.description, **route.answer.also}.items():
        responses[str(status)] = {"description": text, **({"content": content} if content else {})}
    for failure, text in failures.items():
        problem = {"application/problem+json": {"schema": _reference(Problem)}}
        responses[failure] = {"description": text, "content": problem}
    return responses


def _security(scope: Scope) -> list[dict[str, list[str]]]:
    """Return the scope that a key or session needs; a server on loopback asks for none, the last, empty choice."""
    return [] if scope == "open" else [{"key": [scope]}, {"session": [scope]}, {}]


def _reference(model: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _SCHEMAS + model.__name__}
