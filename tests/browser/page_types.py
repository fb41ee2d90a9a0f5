"""Write the page's types.js from the API's OpenAPI document: `python -m tests.browser.page_types`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import web_tier.page
from tagfleet.testing import deployment

FILE = Path(web_tier.page.__file__).parent / "static" / "js" / "types.js"
_SCHEMAS = "#/components/schemas/"
_WIDTH = 140
_NAMES = {
    "Batch": "BatchOut",
    "Boot": "BootTimings",
    "Change": "FleetEvent",
    "DeadLetter": "DeadLetter",
    "Decision": "DecisionRecord",
    "Fleet": "FleetOut",
    "History": "HistoryOut",
    "Instance": "Box",
    "Item": "ItemOut",
    "Key": "KeyOut",
    "Model": "Model",
    "Registered": "Registered",
    "Sample": "Sample",
    "SignIn": "SessionOut",
    "Tag": "Tag",
    "Worker": "Heartbeat",
}
"""The page's name of each type that it uses, and the document's."""

_HEAD = """\
// The types of the REST API's answers, for editors and type checkers; nothing here runs.
// Generated from openapi.json by `make types`: do not edit.
"""
_PLAIN = {"string": "string", "integer": "number", "number": "number", "boolean": "boolean", "null": "null"}


def types_of(document: Mapping[str, Any]) -> str:
    """Return the text of types.js. A type that the page does not name is written out where it is used."""
    schemas = document["components"]["schemas"]
    page_names = {theirs: ours for ours, theirs in _NAMES.items()}

    def type_of(schema: Mapping[str, Any]) -> str:
        if "$ref" in schema:
            name = schema["$ref"].removeprefix(_SCHEMAS)
            return page_names.get(name) or type_of(schemas[name])
        if "anyOf" in schema:
            return "|".join(type_of(one) for one in schema["anyOf"])
        if "enum" in schema:
            return "|".join(f"'{value}'" for value in schema["enum"])
        if "prefixItems" in schema:
            return f"[{', '.join(type_of(one) for one in schema['prefixItems'])}]"
        if schema.get("type") == "array":
            found = type_of(schema["items"])
            return f"({found})[]" if "|" in found else f"{found}[]"
        if "properties" in schema and not schema.get("additionalProperties"):
            return "{" + ", ".join(fields_of(schema)) + "}"
        if schema.get("type") == "object":
            values = schema.get("additionalProperties")
            return f"Record<string, {type_of(values) if isinstance(values, dict) and values else 'any'}>"
        return _PLAIN.get(schema.get("type", ""), "any")

    def fields_of(schema: Mapping[str, Any]) -> list[str]:
        return [f"{name}: {type_of(one)}" for name, one in schema["properties"].items()]

    typedefs = [_typedef(ours, fields_of(schemas[theirs])) for ours, theirs in _NAMES.items()]
    return f"{_HEAD}\n{''.join(typedefs)}\nexport {{}};\n"


def _typedef(name: str, fields: list[str]) -> str:
    """One JSDoc comment, whose lines break between fields."""
    lines, line = [], " * @typedef {{"
    for number, field in enumerate(fields):
        more = field + (", " if number + 1 < len(fields) else f"}}}} {name}")
        if len(line) + len(more) > _WIDTH:
            lines.append(line.rstrip())
            line = " *   "
        line += more
    return "\n".join(["/**", *lines, line, " */", ""])


def generate() -> str:
    with deployment(running=False) as service:
        return types_of(service.http().get("/openapi.json").json)


if __name__ == "__main__":
    FILE.write_text(generate())
