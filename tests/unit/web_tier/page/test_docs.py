"""The page that documents the API: complete, and without external resources."""

from __future__ import annotations

import re
from contextlib import closing
from html.parser import HTMLParser

import pytest

from web_tier.page.docs import _text, _type


class Page(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        said = dict(attributes)
        self.tags.add(tag)
        self.ids += [said["id"]] if "id" in said else []
        self.links += [said[name] for name in ("href", "src") if name in said]


@pytest.fixture
def html(web) -> str:
    answer = web.client.get("/docs")
    assert answer.status_code == 200
    assert answer.mimetype == "text/html"
    return answer.text


def test_every_operation_and_every_shape_is_there(web, html):
    spec = web.client.get("/openapi.json").json
    page = Page(html)
    operations = [operation["operationId"] for methods in spec["paths"].values() for operation in methods.values()]
    assert set(operations) <= set(page.ids)
    assert set(spec["components"]["schemas"]) <= set(page.ids)
    assert len(page.ids) == len(set(page.ids))
    for path in spec["paths"]:
        assert f"<code>{path}</code>" in html


def test_every_link_leads_somewhere_and_none_to_another_host(web, html):
    page = Page(html)
    for link in page.links:
        if link.startswith("#"):
            assert link[1:] in page.ids, link
        else:
            assert re.match(r"/(?!/)", link), link
            with closing(web.client.get(link)) as answer:
                assert answer.status_code == 200, link
    assert "script" not in page.tags


def test_a_description_is_text_and_no_markup():
    assert str(_text("`<a>` & <b>\n\nmore")) == "<p><code>&lt;a&gt;</code> &amp; &lt;b&gt;</p><p>more</p>"


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"$ref": "#/components/schemas/Tag"}, '<a href="#Tag">Tag</a>'),
        ({"anyOf": [{"type": "string"}, {"type": "null"}]}, "string or null"),
        ({"type": "array", "items": {"enum": ["a", "b"]}}, "list of &#34;a&#34; | &#34;b&#34;"),
        ({"type": "integer", "minimum": 1, "maximum": 9, "default": 5}, "integer 1–9 = 5"),
        ({"type": "object", "additionalProperties": {"type": "number", "minimum": 0}}, "object of number ≥ 0"),
        ({"const": "<x>"}, "&#34;&lt;x&gt;&#34;"),
        ({}, "bytes"),
    ],
)
def test_types_are_said_in_a_few_words(schema, said):
    assert str(_type(schema)) == said
