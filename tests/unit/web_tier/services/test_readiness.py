"""/readyz over real processes that are stopped (SIGSTOP), and continue."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from config import settings as config
from config.settings import Settings
from core.wiring import Backend
from tests.unit.web_tier.processes import wait_for
from web_tier import serve

SHORT = {
    "stalled_s": 3.0,
    "controller.lost_after_s": 3.0,
    "controller.max_workers": 0,
    "worker.heartbeat_s": 0.2,
    "pools.resnet50.tagger": "efficientnet-lite0",
    "pools.resnet50.fallback": "",
}


@pytest.fixture
def short(tmp_path: Path, engine_cache: Path) -> Settings:
    return config.load({}, flags={"home": str(tmp_path / "home"), "cache": str(engine_cache), "port": 0, **SHORT})


@pytest.fixture
def start(short: Settings) -> Iterator[Callable[..., subprocess.Popen]]:
    with ExitStack() as stack:

        def start(*arguments: str) -> subprocess.Popen:
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "tagfleet", *arguments],
                env=os.environ | config.as_environment(short),
                stderr=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
            stack.callback(process.wait, 120)
            stack.callback(process.kill)
            return process

        yield start


@pytest.fixture
def client(short: Settings, start) -> Iterator[httpx.Client]:
    start("web")
    address = short.home / serve.ADDRESS_FILE
    wait_for(address.exists)
    with httpx.Client(base_url=address.read_text().strip(), timeout=60, trust_env=False) as client:
        yield client


def detail(client: httpx.Client) -> str:
    answer = client.get("/readyz")
    assert answer.status_code in (200, 503)
    return answer.json().get("detail", "")


def silent(client: httpx.Client) -> dict[str, float]:
    return {
        sample.labels["process"]: sample.value
        for family in text_string_to_metric_families(client.get("/metrics").text)
        for sample in family.samples
        if sample.name == "tagfleet_silent_seconds"
    }


def test_a_web_tier_alone_is_ready(client):
    assert detail(client) == ""
    assert silent(client) == {}


@pytest.mark.parametrize("role", ["collector", "controller"])
def test_a_part_that_is_stopped_is_named_until_it_goes_on(short, client, start, role):
    process = start(role)
    wait_for(lambda: role in silent(client), process)
    assert detail(client) == ""
    process.send_signal(signal.SIGSTOP)
    wait_for(lambda: f"{role} has given no sign of life for" in detail(client))
    assert client.get("/healthz").status_code == 200, "a load balancer goes on sending photos"
    [stalled] = client.get("/api/v1/fleet").json()["stalled"]
    assert stalled["part"] == role
    assert stalled["since_s"] >= short.stalled_s
    assert silent(client)[role] >= short.stalled_s
    status = [sys.executable, "-P", "-m", "tagfleet", "status", "--port", str(client.base_url.port)]
    said = subprocess.run(status, env=os.environ | config.as_environment(short), capture_output=True, text=True)
    assert f"The {role} has given no sign of life" in " ".join(said.stdout.split())
    process.send_signal(signal.SIGCONT)
    wait_for(lambda: detail(client) == "", process)


def test_a_collector_that_was_stopped_in_order_is_missed_a_controller_is_not(client, start):
    for role in ("collector", "controller"):
        process = start(role)
        wait_for(lambda role=role: role in silent(client), process)
        process.terminate()
        assert process.wait(120) == 0
    wait_for(lambda: "collector was stopped" in detail(client))
    assert "controller" not in detail(client)


def test_a_worker_that_stands_still_while_images_wait(client, start, short, data):
    """Nothing is said while nothing waits; with work the last worker of its pool is missed."""
    worker = start("worker", "--instance", "my-box")
    fleet = lambda: client.get("/api/v1/fleet").json()["workers"]  # noqa: E731
    wait_for(lambda: [one for one in fleet() if one["state"] == "idle"], worker)
    worker.send_signal(signal.SIGSTOP)
    wait_for(lambda: fleet() == [])
    assert detail(client) == "", "an idle worker that is lost holds up nothing"
    batch = client.post("/api/v1/batches", json={}).json()["id"]
    photo = ("files", ("a.jpg", (data / "photos" / "parrot.jpg").read_bytes(), "image/jpeg"))
    assert client.post(f"/api/v1/batches/{batch}/images", files=[photo]).status_code == 201
    wait_for(lambda: "worker my-box has given no sign of life for" in detail(client))
    assert "1 image of its pool resnet50 waits and no worker is ready" in detail(client)
    assert client.get(f"/api/v1/batches/{batch}").json()["workers"] == {"ready": 0, "booting": 0}
    assert 'state="idle"' not in client.get("/metrics").text
    worker.send_signal(signal.SIGCONT)
    wait_for(lambda: detail(client) == "", worker)
    wait_for(lambda: not Backend(short).jobs("resnet50").depth().outstanding, worker)
