"""Many clients at once, slow ones, and ones that hang up: none of them harms another."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from urllib.parse import urlsplit

import httpx
import pytest

from config.settings import Settings
from core.wiring import Backend
from tests.unit.web_tier.processes import Served, served, wait_for

READERS = 200


@pytest.fixture
def server(settings: Settings) -> Iterator[Served]:
    with served(settings) as server:
        yield server


@pytest.fixture
def client(server: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client:
        yield client


def connected(url: str) -> socket.socket:
    where = urlsplit(url)
    return socket.create_connection((where.hostname, where.port), timeout=60)


def send(client: httpx.Client, batch: str, *names: str) -> None:
    files = [("files", (name, name.encode())) for name in names]
    assert client.post(f"/api/v1/batches/{batch}/images", files=files).status_code == 201


def listening(url: str, batch: str) -> socket.socket:
    connection = connected(url)
    connection.sendall(f"GET /api/v1/batches/{batch}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return connection


class Reader:
    """Reads a stream to its end in a thread of its own, as a browser does."""

    def __init__(self, url: str, batch: str) -> None:
        self.connection = listening(url, batch)
        self.got = b""
        self.thread = threading.Thread(target=self._read)
        self.thread.start()

    def _read(self) -> None:
        with suppress(ConnectionResetError):  # the server still spoke when we hung up
            while data := self.connection.recv(1 << 16):
                self.got += data

    def close(self) -> None:
        self.connection.shutdown(socket.SHUT_RDWR)
        self.thread.join()
        self.connection.close()


def test_200_readers_at_once_hear_everything_and_leave_room_for_others(server, client):
    batch = client.post("/api/v1/batches").json()["id"]
    with ExitStack() as stack:
        readers = [Reader(server.url, batch) for _ in range(READERS)]
        for reader in readers:
            stack.callback(reader.close)
        wait_for(lambda: all(b"event: batch" in reader.got for reader in readers))
        send(client, batch, "a.jpg", "b.jpg")
        assert client.get("/healthz").json() == {"status": "ok"}
        wait_for(lambda: all(reader.got.count(b"event: item") == 2 for reader in readers))
        assert all(reader.got.startswith(b"HTTP/1.1 200") for reader in readers)
        assert client.get(f"/api/v1/batches/{batch}").json()["request_counts"]["total"] == 2


def test_a_reader_who_does_not_read_holds_up_nobody(server, client):
    """Its connection fills up, with half a megabyte for each change; others hear of each image all the same."""
    batch = client.post("/api/v1/batches", json={"metadata": {"note": "x" * 500_000}}).json()["id"]
    with listening(server.url, batch) as slow, ExitStack() as stack:
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        reader = Reader(server.url, batch)
        stack.callback(reader.close)
        for number in range(1, 21):
            send(client, batch, f"{number}.jpg")
            wait_for(lambda number=number: reader.got.count(b"event: batch") > number)
        assert reader.got.count(b"event: item") == 20
        assert client.get("/healthz").json() == {"status": "ok"}


def test_an_upload_that_stalls_holds_up_nobody_and_one_that_breaks_leaves_nothing(settings, server, client):
    batch = client.post("/api/v1/batches").json()["id"]
    head = (
        f"POST /api/v1/batches/{batch}/images HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000000\r\n"
        "Content-Type: multipart/form-data; boundary=B\r\n\r\n"
        '--B\r\nContent-Disposition: form-data; name="files"; filename="half.jpg"\r\n\r\n'
    ).encode()
    with ExitStack() as stack:
        stalled = [stack.enter_context(connected(server.url)) for _ in range(20)]
        for connection in stalled:
            connection.sendall(head + bytes(50_000))
        send(client, batch, "whole.jpg")
        assert client.get(f"/api/v1/batches/{batch}").json()["request_counts"]["total"] == 1
    client.post(f"/api/v1/batches/{batch}/close")
    (whole,) = client.get(f"/api/v1/batches/{batch}/results").json()["results"]
    kept = [info.key for info in Backend(settings).store.list("uploads/")]
    assert kept == [f"uploads/{batch}/{whole['image_id']}"]
    assert "Traceback" not in "".join(server.said)


def test_two_servers_serve_any_batch(settings, server, client):
    """Over one home folder: what is sent to one is heard from the other."""
    with served(settings) as second, httpx.Client(base_url=second.url, timeout=60, trust_env=False) as other:
        assert second.url != server.url
        batch = client.post("/api/v1/batches").json()["id"]
        reader = Reader(second.url, batch)
        with ExitStack() as stack:
            stack.callback(reader.close)
            send(client, batch, "a.jpg")
            send(other, batch, "b.jpg")
            wait_for(lambda: reader.got.count(b"event: item") == 2)
        names = [item["name"] for item in other.get(f"/api/v1/batches/{batch}/results").json()["results"]]
        assert names == ["a.jpg", "b.jpg"]
        assert client.get(f"/api/v1/batches/{batch}/results").json()["results"][1]["name"] == "b.jpg"
