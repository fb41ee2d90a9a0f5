"""Whom a worker takes itself for: managed is what a fleet launched, whatever id somebody gave it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from app_tier.worker.heartbeats import Identity
from config import settings as config
from config.settings import Settings
from core.local import instance_files
from core.wiring import Backend
from tagfleet.cli.worker import identify_instance, identify_process
from tests.metadata import FakeMetadata, serving
from tests.unit.web_tier.processes import wait_for

ID = "i-0123456789abcdef0"
LAUNCHED = {"tagfleet:deployment": "photos", "tagfleet:token": "lau_1", "tagfleet:pool": "resnet50"}


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return Backend(config.load({}, flags={"home": str(tmp_path)}))


class TestOnThisMachine:
    @pytest.mark.parametrize("id", [None, "my-box", "auto-2", "../queues", "a/b", "wrk-0123456789ab-0"])
    def test_one_by_hand_is_not_managed_whatever_it_is_called(self, backend, id):
        assert not identify_process(id, "resnet50", backend).managed

    def test_one_that_the_fleet_launched_is(self, backend, tmp_path):
        """Its file names this process, which holds the lock."""
        (tmp_path / "instances").mkdir()
        path = instance_files.path_of(tmp_path / "instances", "wrk-0123456789ab-0")
        fd = instance_files.create(path, pool="resnet50", token="t", launched_at=1.0)
        assert fd is not None
        try:
            instance_files.append(path, pid=os.getpid())
            assert identify_process("wrk-0123456789ab-0", "resnet50", backend).managed
        finally:
            os.close(fd)

    @pytest.mark.parametrize("mine", [False, True])
    def test_one_that_borrows_the_id_of_another_is_not(self, backend, tmp_path, mine):
        (tmp_path / "instances").mkdir()
        path = instance_files.path_of(tmp_path / "instances", "wrk-0123456789ab-0")
        fd = instance_files.create(path, pool="resnet50", token="t", launched_at=1.0)
        assert fd is not None
        instance_files.append(path, pid=os.getpid() if mine else 1)
        if mine:
            os.close(fd)  # that process has ended, and we got its number
        try:
            assert not identify_process("wrk-0123456789ab-0", "resnet50", backend).managed
        finally:
            if not mine:
                os.close(fd)


class TestOnEc2:
    def identity(self, monkeypatch: pytest.MonkeyPatch, tags: dict[str, str] | None) -> Identity:
        flags = {"backend": "aws", "aws.region": "eu-central-1", "aws.deployment": "photos", "aws.output_bucket": "o"}
        with serving(FakeMetadata(ID, 1_767_355_200.0, tags)) as metadata:
            for name, value in metadata.environ.items():
                monkeypatch.setenv(name, value)
            backend = Backend(config.load({}, flags={**flags, "aws.input_bucket": "i"}))
            machine = backend.machine()
            assert machine
            return identify_instance(machine, "resnet50", backend.settings, backend)

    def test_one_that_the_fleet_launched_is_managed(self, monkeypatch):
        found = self.identity(monkeypatch, LAUNCHED)
        assert (found.worker_id, found.managed) == (ID, True)

    @pytest.mark.parametrize(
        "tags",
        [
            None,  # no tags in its metadata: none of our launches
            {},
            {"Name": "tagfleet"},
            {"tagfleet:deployment": "photos"},  # a host, or one launched from our template by hand
            {**LAUNCHED, "tagfleet:deployment": "others"},
        ],
    )
    def test_one_that_somebody_else_launched_is_not(self, monkeypatch, tags):
        found = self.identity(monkeypatch, tags)
        assert (found.worker_id, found.managed) == (ID, False)


def test_by_hand_it_stays_and_can_be_drained(tmp_path, engine_cache):
    """A worker, a controller with a cap of nothing, and later none at all: only an order ends it."""
    settings = config.load(
        {},
        flags={
            "home": str(tmp_path / "home"),
            "cache": str(engine_cache),
            "pools.resnet50.tagger": "efficientnet-lite0",
            "pools.resnet50.fallback": "",
            "worker.abandoned_s": 1.0,
            "worker.heartbeat_s": 0.2,
            "controller.max_workers": 0,
            "controller.tick_s": 0.2,
        },
    )
    backend = Backend(settings)
    with tagfleet(settings, "worker", "--instance", "my-box") as worker:
        wait_for(lambda: any(beat.state.ready for beat in backend.roster.workers()), worker)
        with tagfleet(settings, "controller") as controller:
            wait_for(lambda: by_hand(backend) == 1, controller)
        [first] = backend.roster.workers()
        assert first.managed is False
        wait_for(lambda: backend.roster.workers()[0].seq > first.seq + 15, worker)  # several times abandoned_s
        backend.roster.request_drain("my-box")
        wait_for(lambda: worker.poll() is not None)
        assert worker.returncode == 0
    [last] = backend.roster.workers()
    assert last.state == "drained"


@contextmanager
def tagfleet(settings: Settings, *arguments: str) -> Iterator[subprocess.Popen]:
    process = subprocess.Popen(
        [sys.executable, "-P", "-m", "tagfleet", *arguments],
        env=os.environ | config.as_environment(settings),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.terminate()
        process.communicate(timeout=120)


def by_hand(backend: Backend) -> int:
    return sum(decision.terms["by_hand"] for decision in backend.roster.decisions())
