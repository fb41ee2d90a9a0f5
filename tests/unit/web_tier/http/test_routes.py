"""A route's declaration is complete, and it is what is enforced."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from flask import Flask, Response
from pydantic import BaseModel

from web_tier.app import create_app
from web_tier.catalog.keys import SCOPES
from web_tier.http import problems, routes
from web_tier.http.request_parsing import FORM, Body
from web_tier.http.routes import Answer, Resource, declared_routes


class Wanted(BaseModel):
    count: int


class Optional(BaseModel):
    count: int = 1


class Found(BaseModel):
    count: int


@pytest.fixture
def app() -> Flask:
    """Routes of every kind."""
    things = Resource("things", tag="things")

    @things.route("GET /things/<name>", scope="open", query=Wanted, answer=Answer(Found, 203))
    def get_thing(name: str, query: Wanted) -> dict[str, Any]:
        """Get a thing"""
        return {"name": name, "count": query.count}

    @things.route("POST /things", scope="open", body=Body(Optional, max_bytes=20), answer=Found)
    def create_thing(body: Optional) -> Response:
        """Create a thing"""
        return Response(str(body.count), 201)

    @things.route("DELETE /things", scope="open", answer=Answer(status=204))
    def delete_things() -> None:
        """Delete all things"""

    app = Flask("things", static_folder=None)
    problems.install(app)
    app.register_blueprint(things.blueprint)
    routes.check(app, ())
    return app


def test_a_view_gets_its_query_and_its_dict_is_sent_with_the_declared_status(app):
    answer = app.test_client().get("/things/a?count=3")
    assert (answer.status_code, answer.json) == (203, {"name": "a", "count": 3})


@pytest.mark.parametrize(("data", "count"), [("", "1"), ("{}", "1"), ('{"count":7}', "7")])
def test_a_view_gets_its_body_and_an_empty_one_means_the_defaults(app, data, count):
    answer = app.test_client().post("/things", data=data)
    assert (answer.status_code, answer.text) == (201, count)


def test_a_view_without_an_answer_sends_the_declared_status_alone(app):
    answer = app.test_client().delete("/things")
    assert (answer.status_code, answer.data) == (204, b"")


def test_what_is_not_as_declared_names_its_field_or_its_size(app):
    client = app.test_client()
    query = client.get("/things/a?count=many")
    assert (query.status_code, list(query.json["errors"])) == (422, ["count"])
    body = client.post("/things", data='{"count":"7"}')
    assert (body.status_code, list(body.json["errors"])) == (422, ["count"])
    assert client.post("/things", data="[").json["errors"].keys() == {"body"}
    assert client.post("/things", data='{"count":777777777777}').status_code == 413


def test_a_body_is_required_unless_its_schema_has_defaults():
    assert Body(Wanted).required
    assert not Body(Optional).required


def test_an_application_with_an_undeclared_route_does_not_start(app):
    app.add_url_rule("/secret", endpoint="extra.secret", view_func=lambda: "secret")
    routes.check(app, {"extra"})
    with pytest.raises(TypeError, match="/secret does not say which scope it needs"):
        routes.check(app, ())


def test_every_view_takes_what_its_route_declares(web):
    found = declared_routes(web.client.application)
    assert len(found) > 40
    for path, route in found:
        wanted = set(re.findall(r"<(\w+)>", path))
        wanted |= {"query"} if route.query is not None else set()
        wanted |= {"body"} if route.body is not None and route.body.is_json else set()
        assert set(inspect.signature(route.view).parameters) == wanted, path
        assert route.body is None or route.body.media_type in ("application/json", FORM), path
        assert route.answer.content is not None or route.answer.status == 204, path


def test_a_key_opens_exactly_the_routes_of_its_scopes(web):
    """The scope that is described is the one that is enforced."""
    keyed = web.settings.web.model_copy(update={"require_keys": True})
    app = create_app(web.backend, web.settings.model_copy(update={"web": keyed}), web.clock)
    services = app.extensions["tagfleet"]
    secrets = {scope: services.keys.create(scope, [scope], web.clock())[1] for scope in SCOPES}
    client = app.test_client()
    described = client.get("/openapi.json").json["paths"]
    for path, route in declared_routes(app):
        address = re.sub(r"<\w+>", "x", path)
        security = described[re.sub(r"<(\w+)>", r"{\1}", path)][route.method.lower()]["security"]
        assert security == ([] if route.scope == "open" else [{"key": [route.scope]}, {"session": [route.scope]}, {}])
        for scope, secret in secrets.items():
            if route.scope in ("open", scope):
                continue
            bearer = {"Authorization": f"Bearer {secret}"}
            assert client.options(address, headers=bearer).status_code == 200, "it tells no more than the document"
            answer = client.open(address, method=route.method, headers=bearer)
            assert answer.status_code == 403, (path, scope)
            assert f"the scope {route.scope}" in answer.json["detail"]
    services.database.close()
