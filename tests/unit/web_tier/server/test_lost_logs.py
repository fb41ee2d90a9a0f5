"""Processes whose log cannot be written work as others do, and count the lost lines."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from config import settings as config
from config.settings import Settings
from tests.unit.web_tier.processes import wait_for
from web_tier import serve


@contextmanager
def started(settings: Settings, to: str, *arguments: str) -> Iterator[subprocess.Popen]:
    """A command whose streams are redirected as the shell's words `to` say."""
    command = f'exec "$@" {to}'
    process = subprocess.Popen(
        ["/bin/sh", "-c", command, "sh", sys.executable, "-P", "-m", "tagfleet", *arguments],
        env=os.environ | config.as_environment(settings),
        start_new_session=True,  # behind a pipe the shell itself ends at once
    )
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        process.wait(120)
        wait_for(lambda: not members(process.pid))


def members(group: int) -> list[int]:
    """The living processes of a group."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            fields = stat.read_text().rpartition(")")[2].split()
            if int(fields[2]) == group and fields[0] != "Z":
                found.append(int(stat.parent.name))
    return found


@pytest.fixture
def with_keys(settings: Settings) -> tuple[Settings, str]:
    settings = settings.model_copy(
        update={
            "web": settings.web.model_copy(update={"require_keys": True}),
            "controller": settings.controller.model_copy(update={"max_workers": 0}),  # they would outlive it
            "log_level": "debug",
        }
    )
    command = [sys.executable, "-P", "-m", "tagfleet", "keys", "create", "me"]
    scopes = [word for scope in ("read", "write", "operate") for word in ("--scope", scope)]
    environ = os.environ | config.as_environment(settings)
    made = subprocess.run([*command, *scopes], env=environ, capture_output=True, text=True, check=True)
    return settings, made.stdout.strip()


@pytest.mark.parametrize("to", [">/dev/full 2>&1", ">&- 2>&-", "2>&1 | true", "2>/dev/full"])
def test_a_whole_deployment_without_a_log(with_keys, to, data):
    settings, key = with_keys
    with ExitStack() as stack:
        web = stack.enter_context(started(settings, to, "web"))
        address = settings.home / serve.ADDRESS_FILE
        wait_for(address.exists)
        client = stack.enter_context(httpx.Client(base_url=address.read_text().strip(), timeout=60, trust_env=False))
        wrong = client.get("/api/v1/batches", headers={"Authorization": "Bearer tf_" + "0" * 40})
        assert wrong.status_code == 401
        client.headers["Authorization"] = f"Bearer {key}"
        assert client.get("/api/v1/batches/no-such-one").status_code == 404
        batch = client.post("/api/v1/batches", json={}).json()["id"]
        photo = ("files", ("a.jpg", (data / "photos" / "parrot.jpg").read_bytes(), "image/jpeg"))
        assert client.post(f"/api/v1/batches/{batch}/images", files=[photo]).status_code == 201
        for name in ("collector", "controller"):
            stack.enter_context(started(settings, to, name))
        wait_for(lambda: client.get("/readyz").status_code == 200)
        if "|" not in to:
            assert web.poll() is None
            lost = {
                sample.labels["process"]: sample.value
                for family in text_string_to_metric_families(client.get("/metrics").text)
                for sample in family.samples
                if sample.name == "tagfleet_log_lines_dropped"
            }
            assert lost["web"] > 0


def test_a_worker_without_a_log(settings: Settings, data: Path, engine_cache: Path):
    """It says in its heartbeat how many lines it lost."""
    from core.wiring import Backend

    pool = settings.pools["resnet50"].model_copy(update={"tagger": "efficientnet-lite0", "fallback": ""})
    settings = settings.model_copy(update={"pools": {"resnet50": pool}, "cache": engine_cache, "log_level": "debug"})
    with started(settings, ">/dev/full 2>&1", "worker", "--instance", "by-hand") as worker:
        roster = Backend(settings).roster
        wait_for(lambda: [beat for beat in roster.workers() if beat.state.ready and beat.log_lines_dropped])
        assert worker.poll() is None
