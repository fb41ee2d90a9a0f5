"""Web tier and collector as processes that other machines can reach: a key is required, and never logged."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from config import settings as config
from config.settings import Settings
from tests.unit.web_tier.processes import wait_for
from tests.unit.web_tier.receiver import receiving
from web_tier import serve

ROOT = Path(__file__).parents[4]


def tagfleet(settings: Settings, *arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "tagfleet", *arguments],
        env=os.environ | config.as_environment(settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


@contextmanager
def running(settings: Settings, said: list[str], name: str) -> Iterator[subprocess.Popen]:
    """What it says on both streams goes to `said` when it has ended."""
    process = tagfleet(settings, name)
    try:
        yield process
    finally:
        process.terminate()
        said += process.communicate(timeout=120)


def test_open_to_other_machines(settings):
    settings = settings.model_copy(
        update={"host": "0.0.0.0", "webhooks": settings.webhooks.model_copy(update={"allow_private": True})}
    )
    refused = tagfleet(settings, "web")
    assert "tagfleet keys create" in refused.communicate(timeout=120)[1]
    assert refused.returncode == 2

    made = tagfleet(settings, "keys", "create", "me", "--scope", "read", "--scope", "write", "--scope", "operate")
    key = made.communicate(timeout=120)[0].strip()
    said: list[str] = []
    with running(settings, said, "web") as web, running(settings, said, "collector") as collector:
        wait_for((settings.home / serve.ADDRESS_FILE).exists, web)
        url = (settings.home / serve.ADDRESS_FILE).read_text().strip()
        assert url.startswith("http://127.0.0.1:")
        with httpx.Client(base_url=url, timeout=60, trust_env=False) as client, receiving() as receiver:
            assert client.get("/api/v1/batches").status_code == 401
            wrong = {"Authorization": f"Bearer {key[:-1]}"}
            assert client.get("/api/v1/batches", headers=wrong).status_code == 401
            ours = {"Origin": url, "Sec-Fetch-Site": "same-origin"}
            assert client.post("/api/v1/session", json={"key": key}, headers=ours).status_code == 204
            token = client.cookies["tagfleet"]
            hook = client.post("/api/v1/webhooks", json={"url": receiver.url}, headers=ours).json()
            batch = client.post("/api/v1/batches", json={}, headers=ours).json()["id"]
            assert client.post(f"/api/v1/batches/{batch}/close", headers=ours).json()["status"] == "completed"
            wait_for(lambda: bool(receiver.came), collector)
    log = "".join(said)
    assert "listening" in log
    for secret in (key[:-1], token, hook["secret"]):
        assert secret not in log
