"""A refusal before the body was read: it arrives, announces the close, and harms no later request."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
import pytest

from config.settings import Settings
from tests.unit.web_tier.processes import served
from tests.unit.web_tier.raw import Raw, chunked, form, head
from tests.unit.web_tier.server.test_connections import Open, serving

SIZES = (70_000, 500_000, 20_000_000)


@dataclass(frozen=True)
class Refusal:
    """A request that is answered with `status` before its body is read."""

    status: int
    path: str
    kind: str = "multipart/form-data; boundary=b"
    key: str | None = "right"


REFUSALS = [
    Refusal(401, "/api/v1/batches/{batch}/images", key=None),
    Refusal(401, "/api/v1/batches/{batch}/images", key="wrong"),
    Refusal(403, "/api/v1/keys", kind="application/json"),
    Refusal(404, "/api/v1/batches/batch_none/images"),
    Refusal(404, "/nowhere"),
    Refusal(405, "/healthz"),
    Refusal(409, "/api/v1/batches/{closed}/images"),
    Refusal(415, "/api/v1/batches/{batch}/images", kind="image/jpeg"),
    Refusal(422, "/api/v1/batches/{batch}/events?last_event_id=x"),
    Refusal(413, "/api/v1/session", kind="application/json", key=None),
]
IDS = [f"{refusal.status} {refusal.key} {refusal.path.split('?')[0]}" for refusal in REFUSALS]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Open]:
    from config import settings as config

    home = tmp_path_factory.mktemp("refusals")
    with serving(config.load({}, flags={"home": str(home), "port": 0})) as server:
        yield server


@pytest.fixture(scope="module")
def closed(server: Open) -> str:
    batch = server.client.post("/api/v1/batches").json()["id"]
    server.client.post(f"/api/v1/batches/{batch}/close")
    return batch


def asked(server: Open, closed: str, refusal: Refusal) -> tuple[str, str, dict[str, str]]:
    """Method, path and headers."""
    headers = {"Content-Type": refusal.kind}
    if refusal.key is not None:
        headers["Authorization"] = f"Bearer {server.key if refusal.key == 'right' else 'tf_wrong'}"
    method = "GET" if refusal.status == 422 else "POST"
    return method, refusal.path.format(batch=server.batch, closed=closed), headers


@pytest.mark.parametrize("refusal", REFUSALS, ids=IDS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("in_chunks", [True, False], ids=["chunks", "length"])
def test_a_pooled_client_goes_on_after_it(server, closed, refusal, size, in_chunks):
    method, path, headers = asked(server, closed, refusal)
    body = b"x" * size
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:
        for _ in range(2):
            answer = client.request(method, path, headers=headers, content=iter([body]) if in_chunks else body)
            assert answer.status_code == refusal.status
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert client.get("/healthz").status_code == 200


@pytest.mark.parametrize("refusal", REFUSALS, ids=IDS)
@pytest.mark.parametrize("size", SIZES)
def test_a_client_that_sends_all_before_it_listens_gets_it(server, closed, refusal, size):
    """As http.client does, and with it requests and urllib3. Where the answer keeps the connection, it is kept."""
    method, path, headers = asked(server, closed, refusal)
    place = urlsplit(server.url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=60)
    for _ in range(2):
        connection.request(method, path, body=b"x" * size, headers=headers)
        answer = connection.getresponse()
        assert answer.status == refusal.status
        answer.read()
        connection.request("GET", "/healthz")
        assert connection.getresponse().read() == b'{"status":"ok"}'
    connection.close()


@pytest.mark.parametrize(
    ("refusal", "in_chunks"),
    [(refusal, False) for refusal in REFUSALS]
    # how large a body in chunks is can be seen by reading it only
    + [(refusal, True) for refusal in REFUSALS if refusal.status != 413],
)
def test_it_comes_before_the_body_does_and_says_that_the_connection_ends(server, closed, refusal, in_chunks):
    method, path, headers = asked(server, closed, refusal)
    body = b"x" * 5_000_000
    headers["Transfer-Encoding" if in_chunks else "Content-Length"] = "chunked" if in_chunks else str(len(body))
    sent = chunked(body) if in_chunks else body
    with Raw(server.url) as raw:
        raw.send(head(method, path, **headers), sent[:100_000])
        answer = raw.answer(method)
        assert answer.status == refusal.status
        assert answer.closes
        raw.send(sent[100_000:])  # no reset meets a client that goes on for a moment
        assert raw.at_end()


@pytest.fixture
def counting(tmp_path) -> Iterator[Open]:
    """A server that lets a key make ten requests, and one more in an hour."""
    from config import settings as config

    flags = {"home": str(tmp_path), "port": 0, "web.rate_per_s": 1 / 3600, "web.rate_burst": 10}
    with serving(config.load({}, flags=flags)) as server:
        yield server


def test_a_request_whose_body_comes_late_is_counted_once(counting: Open):
    kind, body = form(b"x" * 300_000)
    headers = {"Content-Type": kind, "Content-Length": str(len(body)), "Authorization": f"Bearer {counting.key}"}
    before = int(counting.client.get("/api/v1/batches").headers["RateLimit"].split("r=")[1].split(";")[0])
    with Raw(counting.url) as raw:
        raw.send(head("POST", f"/api/v1/batches/{counting.batch}/images", **headers, Expect="100-continue"))
        assert raw.line().startswith(b"HTTP/1.1 100"), "the application has looked at it and wants the body"
        raw.line()
        raw.send(body)
        answer = raw.answer("POST")
    assert answer.status == 201
    assert f"r={before - 1};" in answer.headers["RateLimit"]


def test_a_client_that_asks_too_often_gets_its_answer_too(counting: Open):
    headers = {"Content-Type": "multipart/form-data; boundary=b", "Authorization": f"Bearer {counting.key}"}
    with httpx.Client(base_url=counting.url, timeout=60, trust_env=False) as client:
        while client.get("/api/v1/batches", headers=headers).status_code == 200:
            pass
        for size in SIZES:
            answer = client.post(f"/api/v1/batches/{counting.batch}/images", headers=headers, content=b"x" * size)
            assert answer.status_code == 429
            assert client.get("/healthz").status_code == 200


def test_too_large_a_request_is_refused_in_the_middle(settings: Settings):
    settings = settings.model_copy(update={"web": settings.web.model_copy(update={"max_request_mb": 2})})
    with served(settings) as server:
        batch = httpx.post(f"{server.url}/api/v1/batches", trust_env=False, timeout=60).json()["id"]
        kind, body = form(bytes(4 << 20))
        with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:
            for content in (body, iter([body[:1_000_000], body[1_000_000:]])):
                answer = client.post(f"/api/v1/batches/{batch}/images", headers={"Content-Type": kind}, content=content)
                assert answer.status_code == 413
                assert client.get("/healthz").status_code == 200


def test_what_follows_a_refusal_is_thrown_away_for_a_while_only(settings: Settings):
    """Bytes beyond the size of one photo are not taken."""
    settings = settings.model_copy(update={"web": settings.web.model_copy(update={"max_image_mb": 1})})
    with served(settings) as server, Raw(server.url) as raw:
        raw.send(head("POST", "/nowhere", Content_Length=str(1 << 40)))
        assert raw.answer("POST").status == 404
        with pytest.raises(ConnectionError):
            raw.send(*[bytes(1 << 20)] * 10_000)
        assert httpx.get(f"{server.url}/healthz", trust_env=False, timeout=60).status_code == 200
