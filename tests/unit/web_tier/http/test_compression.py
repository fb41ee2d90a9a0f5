"""Text is compressed for clients that accept it; secrets, pictures, ranges and event streams are not."""

from __future__ import annotations

import gzip
import http.client
import json
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import requests
from flask import Flask, Response, request

from config import settings as config
from tests.unit.web_tier.conftest import Web
from tests.unit.web_tier.processes import Served, served
from web_tier.app import create_app
from web_tier.http import compression
from web_tier.http.routes import declared_routes

GZIP = {"Accept-Encoding": "gzip"}
LONG = json.dumps(["golden retriever"] * 500).encode()
_SECRETS = {"key", "secret", "fields"}
"""Names of fields whose values must not get to anybody else."""


@pytest.fixture
def app(tmp_path: Path) -> Flask:
    """Answers of every kind."""
    app = Flask("compression", static_url_path="/static", static_folder=str(tmp_path))
    (tmp_path / "a.js").write_bytes(LONG)
    (tmp_path / "a.png").write_bytes(LONG)
    (tmp_path / "small.js").write_bytes(b"//")
    compression.install(app, {"static"})

    @app.route("/of/<kind>/<subtype>")
    def answer(kind: str, subtype: str) -> Response:
        response = Response(LONG[: int(request.args.get("bytes", len(LONG)))], mimetype=f"{kind}/{subtype}")
        response.set_etag("one")
        return response.make_conditional(request)

    return app


def get(app: Flask, path: str, headers: dict[str, str] | None = None, method: str = "GET") -> Any:
    return app.test_client().open(path, method=method, headers=GZIP if headers is None else headers, buffered=True)


@pytest.mark.parametrize(
    "accepted", ["gzip", "br, gzip;q=0.5", "*", "GZIP", "gzip;q=1, identity;q=0.5", "deflate, gzip"]
)
def test_text_is_compressed_for_those_who_accept_it(app: Flask, accepted: str) -> None:
    answer = get(app, "/of/application/json", {"Accept-Encoding": accepted})
    assert answer.headers["Content-Encoding"] == "gzip"
    assert int(answer.headers["Content-Length"]) == len(answer.data) < len(LONG) / 10
    assert gzip.decompress(answer.data) == LONG
    assert answer.headers["Vary"] == "Accept-Encoding"


@pytest.mark.parametrize(
    "accepted", ["", "identity", "gzip;q=0", "br", "*;q=0", "gzip;q=0.1, identity;q=0.9", "gzip;q=no"]
)
def test_others_get_it_plain(app: Flask, accepted: str) -> None:
    answer = get(app, "/of/application/json", {"Accept-Encoding": accepted})
    assert "Content-Encoding" not in answer.headers
    assert answer.data == LONG
    assert answer.headers["Vary"] == "Accept-Encoding", "a cache must not give this answer to those who accept gzip"
    assert answer.headers["ETag"] == '"one"'


@pytest.mark.parametrize("kind", ["image/jpeg", "image/png", "application/zip", "text/event-stream"])
def test_what_is_compressed_already_or_waits_in_no_buffer_is_left_alone(app: Flask, kind: str) -> None:
    answer = get(app, f"/of/{kind}")
    assert answer.data == LONG
    assert "Vary" not in answer.headers


def test_small_answers_are_left_alone(app: Flask) -> None:
    assert get(app, "/of/application/json?bytes=999").headers.get("Content-Encoding") is None
    assert get(app, "/of/application/json?bytes=1000").headers["Content-Encoding"] == "gzip"


def test_a_head_has_the_headers_of_the_get(app: Flask) -> None:
    got, head = get(app, "/of/application/json"), get(app, "/of/application/json", method="HEAD")
    assert head.data == b""
    assert dict(head.headers) == dict(got.headers)


@pytest.mark.parametrize("path", ["/of/application/json", "/static/a.js", "/static/small.js"])
@pytest.mark.parametrize("headers", [GZIP, {}])
def test_a_tag_matches_whether_compressed_or_not(app: Flask, path: str, headers: dict[str, str]) -> None:
    tag = get(app, path, headers).headers["ETag"]
    for again in (GZIP, {}):
        answer = get(app, path, {**again, "If-None-Match": tag})
        assert answer.status_code == 304
        assert answer.data == b""
        assert answer.headers["ETag"] == get(app, path, again).headers["ETag"]
        assert answer.headers["Vary"] == "Accept-Encoding"
        assert "Content-Encoding" not in answer.headers
    assert tag.startswith("W/") is (headers == GZIP and "small" not in path)


def test_a_range_is_of_the_plain_bytes(app: Flask) -> None:
    answer = get(app, "/static/a.js", {**GZIP, "Range": "bytes=10-19"})
    assert answer.status_code == 206
    assert answer.data == LONG[10:20]
    assert answer.headers["Content-Range"] == f"bytes 10-19/{len(LONG)}"
    assert "Content-Encoding" not in answer.headers
    assert "Accept-Ranges" not in get(app, "/static/a.js").headers
    assert get(app, "/static/a.png").headers.get("Content-Encoding") is None


def test_a_stream_is_compressed_piece_by_piece_and_closed(app: Flask) -> None:
    made, closed = [], []

    class Export:
        def __iter__(self) -> Iterator[bytes]:
            for number in range(1000):
                made.append(number)
                yield b"%x" % (7**number) + b"\n"

        def close(self) -> None:
            closed.append(True)

    app.add_url_rule("/export", view_func=lambda: Response(Export(), mimetype="text/csv"))
    answer = app.test_client().get("/export", headers=GZIP)
    pieces = iter(answer.response)
    unpacker = zlib.decompressobj(wbits=31)
    text = unpacker.decompress(next(pieces))
    assert len(made) < 500, "the first bytes come before all is made"
    text += b"".join(map(unpacker.decompress, pieces))
    assert text == b"".join(b"%x\n" % (7**number) for number in range(1000))
    assert unpacker.eof
    answer.close()
    assert closed == [True]
    assert app.test_client().get("/export").data == text
    assert "Content-Length" not in app.test_client().get("/export", headers=GZIP).headers


def test_a_stream_that_nobody_reads_is_closed_too(app: Flask) -> None:
    closed = []

    class Export:
        def __iter__(self) -> Iterator[bytes]:
            raise AssertionError("nobody reads this")

        def close(self) -> None:
            closed.append(True)

    app.add_url_rule("/export", view_func=lambda: Response(Export(), mimetype="text/csv"))
    app.test_client().head("/export", headers=GZIP).close()
    assert closed == [True]


def test_every_answer_with_a_secret_says_so(web: Web) -> None:
    app = create_app(web.backend, web.settings, web.clock)
    found = {
        route.view.__name__: route.answer.secret
        for _, route in declared_routes(app)
        if isinstance(route.answer.content, type) and _SECRETS & set(route.answer.content.model_fields)
    }
    app.extensions["tagfleet"].database.close()
    assert len(found) == 3
    assert all(found.values()), found


def test_an_answer_with_a_secret_is_not_compressed(web: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compression, "_LEAST", 1)
    answer = web.client.post("/api/v1/keys", json={"name": "a", "scopes": ["read"]}, headers=GZIP)
    assert answer.status_code == 201
    assert answer.json["key"].startswith("tf_")
    assert "Content-Encoding" not in answer.headers
    assert web.client.get("/api/v1/keys", headers=GZIP).headers["Content-Encoding"] == "gzip"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    home = tmp_path_factory.mktemp("compression")
    with served(config.load({}, flags={"home": str(home), "port": 0})) as server:
        yield server


def test_clients_of_every_kind_read_the_same(server: Served) -> None:
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:
        batch = client.post("/api/v1/batches").json()["id"]
        files = [("files", (f"{n}.jpg", b"%d" % n)) for n in range(20)]
        assert client.post(f"/api/v1/batches/{batch}/images", files=files).status_code == 201
        path = f"/api/v1/batches/{batch}/results"
        by_httpx = client.get(path)
        exported = client.get(f"/api/v1/batches/{batch}/export?format=csv")
        assert exported.headers["Content-Encoding"] == "gzip"
    assert by_httpx.headers["Content-Encoding"] == "gzip"
    session = requests.Session()
    session.trust_env = False
    by_requests = session.get(server.url + path, timeout=60)
    assert by_requests.headers["Content-Encoding"] == "gzip"
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=60)
    connection.request("GET", path)
    plain = connection.getresponse()
    assert plain.getheader("Content-Encoding") is None
    assert json.load(plain) == by_httpx.json() == by_requests.json()
    connection.request("GET", f"/api/v1/batches/{batch}/export?format=csv")
    assert connection.getresponse().read() == exported.content
    connection.request("HEAD", path, headers=GZIP)
    head = connection.getresponse()
    assert head.read() == b""
    assert int(head.getheader("Content-Length", "0")) == int(by_httpx.headers["Content-Length"])
    connection.close()
