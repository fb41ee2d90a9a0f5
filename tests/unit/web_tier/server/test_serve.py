"""The web tier as a process: where it listens, how it starts and stops."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from config import settings as config
from config.settings import BadSetting, Settings
from core.errors import TagfleetError, Unavailable
from tests.unit.web_tier.processes import wait_for
from web_tier import serve
from web_tier.catalog.database import catalog_url, migrate


@pytest.fixture
def server(settings: Settings) -> Iterator[subprocess.Popen]:
    environ = os.environ | config.as_environment(settings)
    process = subprocess.Popen(
        [sys.executable, "-m", "tagfleet", "web"],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[4],
    )
    try:
        wait_for((settings.home / serve.ADDRESS_FILE).exists, process)
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def client(settings: Settings, server: subprocess.Popen) -> Iterator[httpx.Client]:
    url = (settings.home / serve.ADDRESS_FILE).read_text().strip()
    assert url.startswith("http://127.0.0.1:")
    with httpx.Client(base_url=url, timeout=60, trust_env=False) as client:
        yield client


def test_a_real_server_takes_a_batch_tells_its_story_and_ends(settings, server, client):
    batch = client.post("/api/v1/batches").json()["id"]
    with client.stream("GET", f"/api/v1/batches/{batch}/events") as events:
        lines = events.iter_lines()
        assert next(lines) == "retry: 1000"
        sent = client.post(f"/api/v1/batches/{batch}/images", files={"files": ("a.jpg", bytes(3 << 20))})
        (image,) = sent.json()["images"]
        assert image["bytes"] == 3 << 20
        told = next(line for line in lines if line.startswith('data: {"image_id"'))
        assert json.loads(told[6:])["image_id"] == image["image_id"]
        server.terminate()
        assert "event: completed" not in list(lines), "the stream ends before the batch does"
    assert server.wait(180) == 0
    assert not (settings.home / serve.ADDRESS_FILE).exists()
    assert server.stdout.read() == ""
    said = server.stderr.read()
    assert "listening" in said
    assert "Traceback" not in said
    assert "GET /api" not in said


def test_readers_that_hang_up_give_their_threads_back(settings, server, client):
    """More of them come and go than the server has threads, and nobody hears a word."""
    batch = client.post("/api/v1/batches").json()["id"]

    def one_more() -> bool:
        with client.stream("GET", f"/api/v1/batches/{batch}/events") as events:
            return events.status_code == 200

    for _ in range(settings.web.threads + 5):
        wait_for(one_more, server)
    assert client.get("/healthz").json() == {"status": "ok"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "example.org", ""])
def test_it_refuses_to_serve_other_machines(settings, host):
    with pytest.raises(BadSetting, match="setting host: ") as refused:
        serve.run(settings.model_copy(update={"host": host}))
    assert "\n" not in str(refused.value)


def test_a_port_in_use_is_one_line(settings):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(TagfleetError, match=f"127.0.0.1:{port}: Address already in use") as refused:
            serve.run(settings.model_copy(update={"port": port}))
    assert "\n" not in str(refused.value)


def test_a_home_that_cannot_be_used_is_one_line(settings):
    settings.home.write_text("a file")
    with pytest.raises(Unavailable, match="home"):
        serve.run(settings)


def test_a_store_without_a_name_is_one_line(settings):
    with pytest.raises(TagfleetError, match=r"^setting aws\.input_bucket is empty"):
        serve.run(settings.model_copy(update={"backend": "aws"}))


def test_processes_that_start_together_make_one_catalogue(settings):
    script = """
import sys
from sqlalchemy import make_url
from web_tier.catalog.database import migrate
migrate(make_url(sys.argv[1]))
"""
    command = [sys.executable, "-c", script, str(catalog_url(settings))]
    together = [subprocess.Popen(command, stderr=subprocess.PIPE, cwd=Path(__file__).parents[4]) for _ in range(3)]
    assert [process.communicate()[1] for process in together] == [b""] * 3
    assert [process.returncode for process in together] == [0] * 3


def test_a_catalogue_that_is_none_is_left_alone(settings):
    settings.home.mkdir()
    (settings.home / "catalog.db").write_text("not a database, but perhaps somebody's novel")
    with pytest.raises(Unavailable, match=r"catalog\.db: the file is not a SQLite database"):
        migrate(catalog_url(settings))
    assert "novel" in (settings.home / "catalog.db").read_text()


def test_a_catalogue_of_a_newer_version_is_left_alone(settings):
    import sqlite3

    migrate(catalog_url(settings))
    connection = sqlite3.connect(settings.home / "catalog.db")
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    with pytest.raises(TagfleetError, match="newer version"):
        migrate(catalog_url(settings))
