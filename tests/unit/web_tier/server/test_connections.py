"""Clients that hold connections open: the server answers others meanwhile, and closes those without progress."""

from __future__ import annotations

import re
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from bench.crowd import BODY, CHUNKED_BODY, HEAD, Member, addresses, crowd, drippers, idlers, stream_readers
from config.settings import Settings
from tests.unit.web_tier.processes import Served, served, wait_for
from tests.unit.web_tier.raw import Raw, form, head
from tests.unit.web_tier.server.test_serve_keys import tagfleet


@dataclass
class Open:
    """A server that other machines can reach, and a client with a key for it."""

    served: Served
    url: str
    client: httpx.Client
    key: str
    batch: str

    def upload(self, name: str) -> int:
        photo = {"files": (name, bytes(300_000))}
        return self.client.post(f"/api/v1/batches/{self.batch}/images", files=photo).status_code

    def answers(self) -> bool:
        """On connections of its own, as somebody who comes now has them."""
        health = httpx.get(f"{self.url}/healthz", timeout=60, trust_env=False)
        return health.status_code == 200 and self.upload(f"{health.headers['X-Request-Id']}.jpg") == 201


@contextmanager
def serving(settings: Settings, **web: object) -> Iterator[Open]:
    """Serve on all addresses of this machine, with the settings of `web`."""
    settings = settings.model_copy(update={"host": "0.0.0.0", "web": settings.web.model_copy(update=web)})
    made = tagfleet(settings, "keys", "create", "me", "--scope", "read", "--scope", "write")
    (key,) = re.findall(r"tf_\S+", made.communicate(timeout=120)[0])
    with served(settings) as server:
        headers = {"Authorization": f"Bearer {key}"}
        limits = httpx.Limits(max_keepalive_connections=0)
        with httpx.Client(base_url=server.url, headers=headers, timeout=60, trust_env=False, limits=limits) as client:
            batch = client.post("/api/v1/batches").json()["id"]
            yield Open(server, server.url, client, key, batch)


@pytest.mark.parametrize("sources", [addresses(50), ["127.0.0.1"]], ids=["from many addresses", "from ours"])
def test_2400_connections_keep_nobody_out(settings, sources):
    """1,000 that drip heads and bodies, 1,000 that are silent and 400 event streams, all at once."""
    with serving(settings) as server:
        everybody = [*stream_readers(400, server.batch, server.key), *idlers(1000), *drippers(1000)]
        with crowd(server.url, everybody, sources) as found:
            wait_for(lambda: found.answered >= 400)
            for _ in range(5):
                assert server.answers()
            assert found.opened == 2400
            heard = found.received
            server.upload("news.jpg")
            wait_for(lambda: found.received - heard > 400 * 100)  # every stream tells of it
    assert "Traceback" not in "".join(server.served.said)


def test_connections_that_bring_nothing_are_cut(settings):
    """A head that is late, a body that is too slow, silence: each is cut; the streams stay."""
    with serving(settings, head_s=1.0, stall_s=1.0, send_stall_s=2.0) as server:
        slow = [Member(opening, drips=True) for opening in (HEAD, BODY, CHUNKED_BODY)] * 20
        members = [*stream_readers(10, server.batch, server.key), *idlers(20), *slow]
        with crowd(server.url, members, addresses(5)) as found:
            wait_for(lambda: found.open == 10)
            assert server.answers()
            assert found.open == 10


@pytest.mark.parametrize(
    ("opening", "status"), [(HEAD, 408), (BODY, 408), (CHUNKED_BODY, 408)], ids=["head", "body", "chunks"]
)
def test_who_is_cut_is_told_why(settings, opening, status):
    with serving(settings, head_s=1.0, stall_s=1.0) as server, Raw(server.url) as raw:
        raw.send(opening)
        answer = raw.answer("POST")
        assert answer.status == status
        assert answer.closes
        assert raw.at_end()


def test_a_slow_line_brings_a_large_photo_all_the_same(settings):
    """It takes several times as long as any pause may be; what counts is that it goes on."""
    with serving(settings, stall_s=1.0, slowest_bytes_per_s=1000.0) as server, Raw(server.url) as raw:
        kind, body = form(bytes(100_000), name="slow.jpg")
        key = f"Bearer {server.key}"
        path = f"/api/v1/batches/{server.batch}/images"
        raw.send(head("POST", path, Authorization=key, Content_Type=kind, Content_Length=str(len(body))))
        pace = threading.Event()
        for start in range(0, len(body), 5000):
            raw.send(body[start : start + 5000])
            pace.wait(0.25)
        assert raw.answer("POST").status == 201


def test_uploads_that_come_slowly_hold_up_no_other_request(settings):
    """More of them than there are threads, from people with a key, and all beyond what is gathered."""
    with serving(settings, threads=4) as server:
        kind, body = form(bytes(3_000_000))
        fields = {"Authorization": f"Bearer {server.key}", "Content_Type": kind, "Content_Length": str(len(body))}
        opening = head("POST", f"/api/v1/batches/{server.batch}/images", **fields) + body[:1_500_000]
        with crowd(server.url, [Member(opening, drips=True)] * 10, addresses(10)):
            for _ in range(5):
                assert server.answers()


def test_answers_that_nobody_reads_hold_no_thread_and_are_cut(settings):
    with serving(settings, threads=2, send_stall_s=3.0) as server:
        whole = len(server.client.get("/openapi.json").content)
        with ExitStack() as stack:
            asking = [stack.enter_context(Raw(server.url, receive_buffer=4096)) for _ in range(4)]
            for raw in asking:
                raw.send(head("GET", "/openapi.json") * 400)
            for _ in range(5):
                assert server.answers()
            server_side = {raw.socket.getsockname()[1] for raw in asking}
            wait_for(lambda: not server_side & _established(server.url))
            for raw in asking:
                got = 0
                while data := _rest(raw.socket):
                    got += len(data)
                assert got < 400 * whole


def _established(url: str) -> set[int]:
    """The ports of clients that the server on this machine has connections with."""
    port = int(url.rpartition(":")[2])
    found = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        if int(local.rpartition(":")[2], 16) == port and state == "01":
            found.add(int(remote.rpartition(":")[2], 16))
    return found


def _rest(connection: socket.socket) -> bytes:
    try:
        return connection.recv(1 << 20)
    except ConnectionError:
        return b""


def test_a_stream_that_nobody_reads_is_cut(settings):
    """Its events are not kept for it meanwhile."""
    with serving(settings, send_stall_s=2.0, streams=1) as server, Raw(server.url, receive_buffer=4096) as raw:
        path = f"/api/v1/batches/{server.batch}/events"
        raw.send(head("GET", path, Authorization=f"Bearer {server.key}"))
        assert raw.line().startswith(b"HTTP/1.1 200")
        photos = [("files", (f"{number:05}-{'n' * 180}.jpg", b"%d" % number)) for number in range(700)]

        def is_cut() -> bool:
            again = [(field, (f"{is_cut.calls}-{name}", data)) for field, (name, data) in photos]
            is_cut.calls += 1
            server.client.post(f"/api/v1/batches/{server.batch}/images", files=again)
            with server.client.stream("GET", path) as other:
                return other.status_code == 200  # there is room for one

        is_cut.calls = 0
        wait_for(is_cut)


def test_few_open_files_mean_fewer_connections_and_a_word_about_it(settings):
    """The most that the limit allows for are held; more push out those that wait."""
    script = "import resource, runpy, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (700, 700));"
    script += "sys.argv = ['tagfleet', 'web']; runpy.run_module('tagfleet', run_name='__main__')"
    settings = settings.model_copy(update={"web": settings.web.model_copy(update={"threads": 32})})
    with served(settings, command=[sys.executable, "-c", script]) as server:
        assert "ulimit -n" in "".join(server.said)
        with crowd(server.url, idlers(900), addresses(10)) as found:
            health = httpx.get(f"{server.url}/healthz", timeout=60, trust_env=False)
            assert health.status_code == 200
            wait_for(lambda: found.open < 700)
    assert "Too many open files" not in "".join(server.said)
