"""Declare a route once: what it takes, what it answers, how it fails, and who may call it.

1. `Resource.route` decorates a view and registers it as a `Route`, which holds the whole declaration.
2. The declaration is enforced. `Route` parses the query and the body with the declared schemas before it calls the
   view, encodes what the view returns, and `authentication` refuses callers without the declared scope.
3. The same declaration is described: `openapi` writes the document from the routes of the application, and from
   nothing else. Examples belong to the schemas.

`scope` has no default, and `check` refuses to start an application with an undeclared route, so a new route can't be
open or undocumented by accident.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from flask import Blueprint, Flask, Response
from pydantic import BaseModel

from web_tier.http.request_parsing import Body, Header, parse_body, parse_query
from web_tier.http.responses import json_response

Scope = Literal["open", "read", "write", "operate"]
"""The permission that a caller's key needs; `open` asks for no key."""

View = Callable[..., Response | dict[str, Any] | None]
"""Takes the variables of the path, and `query` and `body` where they are declared.

A dict is sent as JSON with the declared status, None as an empty answer.
"""


@dataclass(frozen=True)
class Answer:
    """The answer of a route when it succeeds.

    `content` is the schema of a JSON answer, or OpenAPI's media type objects by media type, or None where there is no
    body. `also` describes further statuses with the same content.
    `secret` says that it contains a key, a secret or a signature; `compression` leaves such an answer as it is.
    """

    content: type[BaseModel] | Mapping[str, Any] | None = None
    status: int = 200
    description: str = "Successful response"
    also: Mapping[int, str] = field(default_factory=dict)
    secret: bool = False


@dataclass(frozen=True)
class Route:
    """A view together with its declaration; it is the view function that Flask calls."""

    view: View
    method: str
    tag: str
    scope: Scope
    answer: Answer
    body: Body | None
    query: type[BaseModel] | None
    headers: tuple[Header, ...]
    errors: Mapping[int, str]

    def __call__(self, **variables: str) -> Response:
        given: dict[str, Any] = {**variables}
        if self.query is not None:
            given["query"] = parse_query(self.query)
        if self.body is not None and self.body.is_json:
            given["body"] = parse_body(self.body)
        answered = self.view(**given)
        if answered is None:
            return Response(status=self.answer.status)
        return answered if isinstance(answered, Response) else json_response(answered, self.answer.status)


class Resource:
    """The routes of one resource. `tag` is its heading in the API's description."""

    def __init__(self, name: str, *, tag: str) -> None:
        self.blueprint = Blueprint(name, __name__)
        self._tag = tag

    def route(
        self,
        pattern: str,
        *,
        scope: Scope,
        answer: Answer | type[BaseModel],
        body: Body | type[BaseModel] | None = None,
        query: type[BaseModel] | None = None,
        headers: tuple[Header, ...] = (),
        errors: Mapping[int, str] | None = None,
    ) -> Callable[[View], View]:
        """Declare and register a view, as in `@batches.route("GET /batches/<batch_id>", scope="read", …)`.

        A bare schema as `answer` means status 200, and as `body` a JSON body. The view's docstring is the summary and,
        after an empty line, the description. `errors` says in words when a status is answered.
        """
        method, _, rule = pattern.partition(" ")

        def declare(view: View) -> View:
            route = Route(
                view=view,
                method=method,
                tag=self._tag,
                scope=scope,
                answer=answer if isinstance(answer, Answer) else Answer(answer),
                body=body if body is None or isinstance(body, Body) else Body(body),
                query=query,
                headers=headers,
                errors=errors or {},
            )
            self.blueprint.add_url_rule(rule, endpoint=view.__name__, view_func=route, methods=[method])
            return view

        return declare


def declared_routes(app: Flask) -> list[tuple[str, Route]]:
    """Return the paths and routes of the application, in the order in which they were declared."""
    views = ((rule.rule, app.view_functions[rule.endpoint]) for rule in app.url_map.iter_rules())
    return [(path, view) for path, view in views if isinstance(view, Route)]


def route_of(app: Flask, endpoint: str) -> Route | None:
    """Return the declaration of an endpoint; None for an undeclared view, such as the page's."""
    view = app.view_functions.get(endpoint)
    return view if isinstance(view, Route) else None


def check(app: Flask, undeclared: Collection[str]) -> None:
    """Raise TypeError if a view is neither a `Route` nor in one of the `undeclared` blueprints."""
    for rule in app.url_map.iter_rules():
        blueprint = rule.endpoint.partition(".")[0]
        if blueprint not in undeclared and route_of(app, rule.endpoint) is None:
            raise TypeError(f"{rule.rule} does not say which scope it needs; declare it with Resource.route")
