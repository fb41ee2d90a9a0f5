"""The page's types are those of the API."""

from __future__ import annotations

from tests.browser.page_types import FILE, generate, types_of


def test_the_types_in_the_tree_are_generated_from_the_openapi_document():
    assert FILE.read_text() == generate(), "run `make types`"


def test_each_kind_of_schema_becomes_a_type():
    plain = {"properties": {"a": {"type": "string"}}}
    names = ["BatchOut", "BootTimings", "FleetEvent", "DeadLetter", "DecisionRecord", "FleetOut", "HistoryOut", "Box"]
    names += ["KeyOut", "Model", "Registered", "Sample", "SessionOut", "Tag", "Heartbeat"]
    item = {
        "properties": {
            "status": {"enum": ["queued", "failed"]},
            "error": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "tags": {"type": "array", "items": {"$ref": "#/components/schemas/Tag"}},
            "box": {"prefixItems": [{"type": "number"}, {"type": "integer"}]},
            "scopes": {"type": "array", "items": {"enum": ["read", "write"]}},
            "more": {"type": "object", "additionalProperties": True},
            "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
            "other": {"$ref": "#/components/schemas/Unnamed"},
        }
    }
    schemas = dict.fromkeys(names, plain) | {"ItemOut": item, "Unnamed": plain}
    text = types_of({"components": {"schemas": schemas}}).replace("\n *  ", "")
    fields = "status: 'queued'|'failed', error: string|null, tags: Tag[], box: [number, number], "
    fields += (
        "scopes: ('read'|'write')[], more: Record<string, any>, counts: Record<string, number>, other: {a: string}"
    )
    assert f"@typedef {{{{{fields}}}}} Item\n" in text
