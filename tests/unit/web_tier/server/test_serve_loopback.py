"""The server on every loopback address, and a web process that hangs."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import httpx
import pytest

from tests.unit.web_tier.processes import served, wait_for
from tests.unit.web_tier.raw import Raw, head
from web_tier.http import network_policy

LOOPBACK = ["127.0.0.2", "127.0.0.1", "127.255.255.254", "::1", "::ffff:127.0.0.3", "localhost"]


@pytest.mark.parametrize("host", LOOPBACK)
def test_it_answers_where_it_says_that_it_serves(settings, host):
    with (
        served(settings.model_copy(update={"host": host})) as server,
        httpx.Client(base_url=server.url, timeout=60, trust_env=False) as client,
    ):
        assert client.get("/healthz").status_code == 200
        ours = {"Origin": server.url, "Sec-Fetch-Site": "same-origin"}
        assert client.post("/api/v1/batches", headers=ours).status_code == 201


@pytest.mark.parametrize("host", LOOPBACK)
def test_no_address_of_loopback_asks_for_keys(settings, host):
    assert not network_policy.asks_for_keys(settings.model_copy(update={"host": host}))


@pytest.mark.parametrize(
    ("name", "status"),
    [
        ("127.0.0.1", 200),
        ("127.9.8.7:80", 200),
        ("[::1]:8000", 200),
        ("[::ffff:127.0.0.1]", 200),
        ("[::ffff:7f00:2]:80", 200),
        ("localhost:1", 200),
        ("127.0.0.1.evil.example", 403),
        ("evil.example", 403),
        ("192.0.2.1", 403),
        ("[::ffff:192.0.2.1]", 403),
        ("[2001:db8::1]", 403),
        ("0.0.0.0", 403),
        ("2130706433", 403),
        ("127.1", 403),
    ],
)
def test_by_its_own_addresses_only(web, name, status):
    assert web.client.get("/healthz", headers={"Host": name}).status_code == status


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def test_a_web_process_that_stands_still_is_replaced(settings):
    settings = settings.model_copy(update={"web": settings.web.model_copy(update={"hung_s": 6.0})})
    with served(settings) as server:
        with httpx.Client(base_url=server.url, timeout=120, trust_env=False) as client:
            batch = client.post("/api/v1/batches").json()["id"]
        (stopped,) = _children(server.process.pid)
        os.kill(stopped, signal.SIGSTOP)
        with Raw(server.url) as asking:
            asking.send(head("GET", f"/api/v1/batches/{batch}"))
            wait_for(lambda: (found := _children(server.process.pid)) and stopped not in found)
        assert httpx.get(f"{server.url}/api/v1/batches/{batch}", timeout=120, trust_env=False).status_code == 200
        wait_for(lambda: "is replaced" in "".join(server.said))
