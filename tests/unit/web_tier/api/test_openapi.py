"""The API against its description: the document is valid and complete, and describes every answer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as bounded
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from schemathesis import GenerationMode, openapi
from schemathesis.checks import load_all_checks, not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from web_tier.api.schemas import example_of
from web_tier.app import create_app
from web_tier.http.openapi import schemas_of
from web_tier.http.problems import Problem
from web_tier.http.routes import declared_routes

_CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
_REQUESTS = 10
_REFUSALS = [400, 404, 409, 413, 415, 422]


@pytest.fixture
def app(web) -> Iterator[Flask]:
    """The same service as `web`, in which event streams end at once."""
    app = create_app(web.backend, web.settings, web.clock, stopping=lambda: True)
    yield app
    services = app.extensions["tagfleet"]
    services.thumbnails.close()
    services.database.close()


@pytest.fixture
def spec(app) -> dict[str, Any]:
    return app.test_client().get("/openapi.json").json


def test_the_document_is_valid(spec):
    OpenAPIV31SpecValidator(spec).validate()


def test_every_body_and_answer_has_a_valid_example(app, spec):
    schemas = {Problem} | {schema for _, route in declared_routes(app) for schema in schemas_of(route)}
    assert len(schemas) > 40
    for schema in schemas:
        name = schema.__name__
        assert "json_schema_extra" in schema.model_config, f"{name} has no example"
        Draft202012Validator({**spec, "$ref": f"#/components/schemas/{name}"}).validate(example_of(schema))
        assert spec["components"]["schemas"][name]["examples"] == [example_of(schema)]


def test_every_answer_in_another_text_format_has_an_example(spec):
    for path, operations in spec["paths"].items():
        for operation in operations.values():
            for response in operation["responses"].values():
                for media_type, content in response.get("content", {}).items():
                    if "$ref" not in content.get("schema", {}) and media_type.startswith(("text/", "application/")):
                        assert media_type == "application/zip" or content["example"], (path, media_type)


def test_every_body_that_is_parsed_takes_its_own_example(app):
    for path, route in declared_routes(app):
        if route.body is not None and route.body.is_json:
            schema = route.body.schema
            assert schema.model_validate_json(json.dumps(example_of(schema)), strict=True), path


def test_every_parameter_says_what_it_means(spec):
    for path, operations in spec["paths"].items():
        for operation in operations.values():
            for parameter in operation["parameters"]:
                assert parameter["in"] == "path" or parameter["description"], (path, parameter["name"])


def test_every_operation_says_what_it_does_and_how_it_fails(spec):
    for path, operations in spec["paths"].items():
        for method, operation in operations.items():
            assert operation["summary"], (method, path)
            assert "application/problem+json" in operation["responses"]["default"]["content"], (method, path)
            for status, response in operation["responses"].items():
                if status[0] == "2" and status != "204":
                    assert response["content"], (method, path, status)


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["right", "wrong"])
def test_whatever_is_sent_is_answered_as_described(app, web, mode):
    """Half of the right requests name a batch and an image that exist."""
    load_all_checks()
    failures = {}
    config = SchemathesisConfig.from_dict({"checks": {"negative_data_rejection": {"expected-statuses": _REFUSALS}}})
    for result in openapi.from_wsgi("/openapi.json", app=app, config=config).get_all_operations():
        operation = result.ok()
        try:
            _try_out(operation, web, mode)
        except Unsatisfiable:
            assert mode is GenerationMode.NEGATIVE, operation.label  # a request without parameters is never wrong
        except FailureGroup as error:  # the other operations are looked at too
            failures[operation.label] = str(error)
    assert not failures, "\n\n".join(f"{label}: {error}" for label, error in failures.items())


def _try_out(operation: Any, web: Any, mode: GenerationMode) -> None:
    right = mode is GenerationMode.POSITIVE

    @bounded(
        max_examples=_REQUESTS,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(mode), there=st.booleans())
    def answers(case: Any, there: bool) -> None:
        if right and there and case.path_parameters:
            case.path_parameters.update(
                {name: id for name, id in _something(web).items() if name in case.path_parameters}
            )
        checks = _CHECKS if right else [*_CHECKS, negative_data_rejection]
        case.call_and_validate(checks=checks, headers={"Accept-Encoding": "identity"})  # it decompresses nothing

    answers()


def _something(web: Any) -> dict[str, str]:
    """Return a new batch of two images, one with its result; requests may delete it."""
    batch = web.batch()
    image, _ = web.upload(batch, ("a.jpg", b"one"), ("b.jpg", b"two"))
    web.finish(*(web.result_of(job) for job in web.jobs() if job.image_id == image["image_id"]))
    web.collect()
    return {"batch_id": batch, "image_id": image["image_id"]}
