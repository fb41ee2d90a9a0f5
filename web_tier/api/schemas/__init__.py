"""The schemas of requests and answers, one module for each resource. Each schema has its own example."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict


class RequestBody(BaseModel):
    """A JSON body. It refuses fields that it doesn't know, so that a misspelt one is noticed."""

    model_config = ConfigDict(extra="forbid")


def example(value: dict[str, Any]) -> ConfigDict:
    """Return the configuration that gives a schema its example."""
    return ConfigDict(json_schema_extra={"examples": [value]})


def example_of(schema: type[BaseModel]) -> dict[str, Any]:
    """Return the example of a schema. Raises KeyError if it has none."""
    extra: Any = schema.model_config["json_schema_extra"]
    found: dict[str, Any] = extra["examples"][0]
    return found
