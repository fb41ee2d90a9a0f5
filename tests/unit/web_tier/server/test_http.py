"""HTTP/1.1 as clients and attackers speak it, over raw sockets to a real server."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from config.settings import Settings
from tests.unit.web_tier.processes import Served, served
from tests.unit.web_tier.raw import Raw, chunked, form, head

_POST = b"POST /healthz HTTP/1.1\r\nHost: localhost\r\n"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    from config import settings as config

    home = tmp_path_factory.mktemp("http")
    with served(config.load({}, flags={"home": str(home), "port": 0})) as server:
        yield server


@pytest.fixture(scope="module")
def batch(server: Served) -> str:
    return httpx.post(f"{server.url}/api/v1/batches", trust_env=False, timeout=60).json()["id"]


@pytest.fixture
def raw(server: Served) -> Iterator[Raw]:
    with Raw(server.url) as raw:
        yield raw


def test_requests_sent_together_are_answered_in_order(raw, batch):
    kind, body = form(b"pipelined")
    upload = head("POST", f"/api/v1/batches/{batch}/images", Content_Type=kind, Content_Length=str(len(body))) + body
    raw.send(head("GET", "/healthz") + upload + head("GET", f"/api/v1/batches/{batch}") + b"GET /heal")
    assert [raw.answer().status for _ in range(3)] == [200, 201, 200]
    raw.send(b"thz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert raw.answer().body == b'{"status":"ok"}'


@pytest.mark.parametrize("size", [0, 10, 70_000, 3_000_000])
@pytest.mark.parametrize("in_chunks", [True, False])
def test_an_upload_arrives_whole_and_its_connection_is_kept(raw, batch, size, in_chunks):
    kind, body = form(bytes(size) + b"x", name=f"{size}-{in_chunks}.jpg")
    length = {"Transfer_Encoding": "chunked"} if in_chunks else {"Content_Length": str(len(body))}
    raw.send(head("POST", f"/api/v1/batches/{batch}/images", Content_Type=kind, **length))
    raw.send(chunked(body) if in_chunks else body)
    answer = raw.answer("POST")
    assert answer.status == 201
    assert json.loads(answer.body)["images"][0]["bytes"] == size + 1
    assert not answer.closes
    raw.send(head("GET", "/healthz"))
    assert raw.answer().status == 200


def test_a_body_that_comes_in_pieces_is_read_whole(raw, batch):
    kind, body = form(b"0123456789" * 20_000, name="pieces.jpg")
    raw.send(head("POST", f"/api/v1/batches/{batch}/images", Content_Type=kind, Content_Length=str(len(body))))
    for start in range(0, len(body), 10_001):
        raw.send(body[start : start + 10_001])
    assert json.loads(raw.answer("POST").body)["images"][0]["bytes"] == 200_000


@pytest.mark.parametrize("size", [100, 300_000, 3_000_000])
def test_who_waits_for_leave_to_send_gets_it(raw, batch, size):
    kind, body = form(bytes(size), name=f"leave-{size}.jpg")
    fields = {"Content_Type": kind, "Content_Length": str(len(body)), "Expect": "100-continue"}
    raw.send(head("POST", f"/api/v1/batches/{batch}/images", **fields))
    assert raw.line() == b"HTTP/1.1 100 Continue\r\n"
    assert raw.line() == b"\r\n"
    raw.send(body)
    assert raw.answer("POST").status == 201


def test_who_waits_for_leave_to_send_is_refused_without_it(raw):
    fields = {"Content_Type": "image/jpeg", "Content_Length": "3000000", "Expect": "100-continue"}
    raw.send(head("POST", "/api/v1/batches/batch_none/images", **fields))
    assert raw.line().startswith(b"HTTP/1.1 404 ")


def test_an_old_client_gets_its_answer_and_the_end(raw):
    raw.send(head("GET", "/healthz", version="1.0"))
    answer = raw.answer()
    assert answer.status == 200
    assert raw.at_end()


def test_an_old_client_that_asks_for_it_keeps_its_connection(raw):
    for _ in range(2):
        raw.send(head("GET", "/healthz", version="1.0", Connection="keep-alive"))
        assert raw.answer().status == 200


def test_an_old_client_finds_the_end_of_an_export_by_that_of_the_connection(raw, batch):
    path = f"/api/v1/batches/{batch}/export?format=jsonl"
    raw.send(head("GET", path, version="1.0", Connection="keep-alive"))
    answer = raw.answer()
    assert answer.status == 200
    assert answer.closes
    assert "Transfer-Encoding" not in answer.headers
    assert raw.at_end()


@pytest.mark.parametrize("path", ["/healthz", "/", "/openapi.json"])
def test_a_client_that_closes_its_half_is_still_answered(raw, path):
    raw.send(head("GET", path))
    raw.socket.shutdown(socket.SHUT_WR)
    assert raw.answer().status == 200
    assert raw.at_end()


@pytest.mark.parametrize(
    ("status", "request_"),
    [
        (400, _POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (400, _POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\nhello"),
        (400, _POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello"),
        (400, _POST + b"Content-Length: +5\r\n\r\nhello"),
        (400, _POST + b"Content-Length : 5\r\n\r\nhello"),
        (400, _POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n"),
        (501, _POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n"),
        (400, b"POST /healthz HTTP/1.0\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (400, _POST + b"X: a\r\n b\r\n\r\n"),
        (400, b"GET /healthz HTTP/1.1\nHost: localhost\n\n"),
        (400, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: other\r\n\r\n"),
        (400, b"GET /healthz\r\n\r\n"),
        (400, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"),
        (431, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * 20_000 + b"\r\n\r\n"),
        (431, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 2000 + b"\r\n"),
        (414, b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ],
)  # fmt: skip
def test_what_two_servers_could_read_in_two_ways_is_refused(server, raw, status, request_):
    raw.send(request_ + head("GET", "/openapi.json"))
    answer = raw.answer()
    assert answer.status == status
    assert answer.closes
    assert raw.at_end(), "what follows is no second request"
    assert httpx.get(f"{server.url}/healthz", trust_env=False, timeout=60).status_code == 200


def test_a_request_in_absolute_form_is_one_for_its_path(raw):
    raw.send(b"GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert raw.answer().body == b'{"status":"ok"}'


def test_an_upgrade_that_is_not_offered_is_passed_over(raw):
    fields = {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings", "HTTP2_Settings": "AAMAAABkAAQAoAAAAAIAAAAA"}
    raw.send(head("GET", "/healthz", **fields))
    assert raw.answer().status == 200


def test_a_path_that_is_no_utf_8_leads_nowhere(raw):
    raw.send(head("GET", "/%ff%fe"))
    assert raw.answer().status == 404


def test_many_clients_at_once_get_each_its_own_answer(server):
    ours = {"timeout": 60, "trust_env": False}
    ids = [httpx.post(f"{server.url}/api/v1/batches", **ours).json()["id"] for _ in range(8)]

    def ask(number: int) -> bool:
        wanted = ids[number % len(ids)]
        return httpx.get(f"{server.url}/api/v1/batches/{wanted}", **ours).json()["id"] == wanted

    with ThreadPoolExecutor(16) as clients:
        assert all(clients.map(ask, range(160)))


def test_a_server_that_is_asked_to_end_answers_what_it_has_begun(settings: Settings):
    """The long wait ends with the server; idle connections and event streams do not hold it up."""
    with served(settings) as server:
        batch = httpx.post(f"{server.url}/api/v1/batches", trust_env=False, timeout=60).json()["id"]
        with Raw(server.url) as idle, Raw(server.url) as waiting, Raw(server.url) as stream:
            idle.send(b"GET /he")
            stream.send(head("GET", f"/api/v1/batches/{batch}/events"))
            while b"event: batch" not in stream.line():
                pass
            waiting.send(head("GET", f"/api/v1/batches/{batch}", Prefer="wait=60"))
            with Raw(server.url) as other:  # sent later, so the one that waits is being answered
                other.send(head("GET", "/healthz"))
                assert other.answer().status == 200
            server.process.terminate()
            assert waiting.answer().status == 200
            assert waiting.at_end()
            assert idle.at_end()
            while stream.line():
                pass
        assert server.process.wait(120) == 0
    assert "Traceback" not in "".join(server.said)
