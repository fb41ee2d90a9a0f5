"""The parser of uploads against the suite multipart-form-data-conformance."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
from multipart_form_data_conformance import get_tests_dir
from werkzeug.http import parse_options_header

from web_tier.http.multipart import BadMultipart, parts

CASES = sorted(path.parent for path in get_tests_dir().rglob("test.json"))
OTHERWISE = {
    "044-boundary-special-chars": "the header has characters that must be quoted (RFC 2045); werkzeug cuts it there",
    "046-whitespace-around-boundary": "optional; werkzeug finds no boundary, and the service answers 415",
    "022-filename-star-encoding": "optional; the suite keeps filename* apart, we use it as the name",
    "023-both-filename-star": "optional; the suite keeps filename* apart, we use it as the name",
    "061-lf-only-lenient": "optional; line ends without CR are refused",
    "062-mixed-endings": "optional; line ends without CR are refused",
    "204-invalid-content-disposition": "a part without a name is skipped like any part that is not named files",
    "208-duplicate-headers": "optional; the first Content-Disposition counts",
}


def case(folder: Path) -> tuple[dict[str, Any], bytes, str]:
    """What is expected, the body, and the Content-Type."""
    headers = {name.lower(): value for name, value in json.loads((folder / "headers.json").read_text()).items()}
    expected = json.loads((folder / "test.json").read_text())["expected"]
    return expected, (folder / "input.raw").read_bytes(), headers["content-type"]


def test_the_suite_is_whole():
    assert len(CASES) == 58
    assert set(OTHERWISE) <= {folder.name for folder in CASES}


@pytest.mark.parametrize("folder", [case for case in CASES if case.name not in OTHERWISE], ids=lambda case: case.name)
def test_a_case_is_parsed_as_expected(folder):
    expected, body, content_type = case(folder)
    boundary = parse_options_header(content_type)[1].get("boundary", "")
    if not expected["valid"]:
        with pytest.raises(BadMultipart):
            list(parts(io.BytesIO(body), boundary))
        return
    found = [(part.field, part.filename, len(b"".join(part.chunks))) for part in parts(io.BytesIO(body), boundary)]
    assert found == [(part["name"], part.get("filename"), part["body_size"]) for part in expected["parts"]]


def test_the_service_refuses_what_it_cannot_read_and_never_fails(web):
    batch = web.batch()
    for folder in CASES:
        expected, body, content_type = case(folder)
        answer = web.client.post(f"/api/v1/batches/{batch}/images", data=body, content_type=content_type)
        refused = (400,) if not expected["valid"] and folder.name not in OTHERWISE else (201, 400, 415, 422)
        assert answer.status_code in refused, (folder.name, answer.text)
