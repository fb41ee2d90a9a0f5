"""The controller over the local store, queue and fleet, with real processes for workers."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from config import settings as config
from config.settings import Settings
from controller.main import run
from core.fleet.decisions import Rule
from core.storage.ports import InstanceState
from core.wiring import Backend

pytestmark = pytest.mark.e2e

WORKER = """
import os, signal, sys, time
from config import settings as config
from core.fleet.roster import Heartbeat, WorkerState
from core.wiring import Backend

pool, me = sys.argv[sys.argv.index("--pool") + 1], sys.argv[sys.argv.index("--instance") + 1]
backend = Backend(config.load(os.environ))
queue, roster, stopped, seq = backend.jobs(pool), backend.roster, [], 0
signal.signal(signal.SIGTERM, lambda *_: stopped.append(True))

def say(state):
    global seq
    seq += 1
    now = time.time()
    roster.beat(Heartbeat(worker_id=me, pool=pool, tagger="none", state=state, seq=seq, at=now, state_since=since,
        started_at=now, engine=str(os.getpid())))

since = time.time()
while not stopped and not roster.drain_requested(me):
    say(WorkerState.IDLE)
    queue.delete(queue.receive(10, 0.1))
say(WorkerState.DRAINED)
"""


@pytest.fixture
def quick(tmp_path: Path) -> Settings:
    flags = {"tick_s": 0.1, "idle_keep_s": 0.5, "stabilisation_s": 0.2, "boot_prior_s": 0.3, "lease_s": 0.6}
    flags_of = {f"controller.{name}": value for name, value in flags.items()}
    return config.load({}, flags={"home": str(tmp_path / "home"), "cache": str(tmp_path / "cache"), **flags_of})


@pytest.fixture
def backend(quick: Settings) -> Iterator[Backend]:
    """Leaves no worker behind."""
    backend = Backend(quick)
    yield backend
    fleet = backend.fleet(["worker"])
    fleet.terminate([one.id for one in fleet.instances()])
    eventually(lambda: all(one.state is InstanceState.GONE for one in fleet.instances()))


@contextmanager
def controlled(backend: Backend, script: Path, **changes: float) -> Iterator[None]:
    stop = threading.Event()
    command = [sys.executable, str(script)]
    settings = backend.settings.model_copy(
        update={"controller": backend.settings.controller.model_copy(update=changes)}
    )
    thread = threading.Thread(target=run, args=(Backend(settings), command, stop))
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@pytest.fixture
def script(tmp_path: Path) -> Path:
    path = tmp_path / "worker.py"
    path.write_text(WORKER)
    return path


def eventually(holds: Callable[[], bool], within_s: float = 120.0) -> None:
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, "it never came to be"
        time.sleep(0.02)


def test_from_zero_to_zero_across_a_restart_of_the_controller(backend: Backend, script: Path) -> None:
    fleet, queue = backend.fleet(["worker"]), backend.jobs("resnet50")
    with controlled(backend, script):
        queue.send([f"image {number}" for number in range(50)])
        eventually(lambda: any(one.state is InstanceState.RUNNING for one in fleet.instances()))
    with controlled(backend, script):
        eventually(lambda: queue.depth().outstanding == 0)
        eventually(lambda: all(one.state is InstanceState.GONE for one in fleet.instances()))
        eventually(lambda: not backend.roster.workers())
    assert len(fleet.instances()) == 1, "one worker did it all, and its second controller knew it"
    assert backend.roster.drain_requests() == set()


def test_a_worker_that_is_killed_is_replaced(backend: Backend, script: Path) -> None:
    fleet, queue = backend.fleet(["worker"]), backend.jobs("resnet50")
    with controlled(backend, script, idle_keep_s=600.0):  # an image in the victim's hands comes back long after
        queue.send(["an image"])
        eventually(lambda: bool(backend.roster.workers()))
        [beat] = backend.roster.workers()
        os.kill(int(beat.engine), signal.SIGKILL)
        queue.send(["another image"])
        eventually(lambda: queue.depth().outstanding == 0)
        assert len(fleet.instances()) == 2


def test_a_worker_command_that_fails_opens_the_breaker(backend: Backend, script: Path) -> None:
    script.write_text("raise SystemExit('broken')")
    with controlled(backend, script):
        backend.jobs("resnet50").send(["an image"])
        eventually(lambda: any(record.terms["rule"] == Rule.BREAKER for record in backend.roster.decisions()))
    assert len(backend.fleet(["worker"]).instances()) == backend.settings.controller.breaker_failures


# --- the command ------------------------------------------------------------------------------


def tagfleet(home: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tagfleet", "controller", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TAGFLEET_HOME": str(home), "COLUMNS": "200"},
    )


def test_dry_run_prints_the_plan_and_changes_nothing(backend: Backend) -> None:
    backend.jobs("resnet50").send(["an image"] * 30)
    with tagfleet(backend.settings.home, "--dry-run") as process:
        assert process.stdout is not None
        printed = [process.stdout.readline() for _ in range(2)]
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert process.returncode == 0
    assert printed[0].startswith("resnet50: launch 1")
    assert printed[1].strip() == "30 images wait and no worker runs: launch 1."
    assert list(backend.store.list("")) == []
    assert backend.fleet(["worker"]).instances() == []


def test_sigterm_gives_the_lease_back_and_explain_tells_the_last_decision(backend: Backend) -> None:
    home = backend.settings.home
    with tagfleet(home) as process:
        eventually(lambda: bool(backend.roster.decisions()))
        process.send_signal(signal.SIGTERM)
        process.communicate()
    assert process.returncode == 0
    assert b'"released":true' in backend.store.get("fleet/controller.json").data
    for arguments in (["explain"], ["explain", "--pool", "resnet50"], ["--home", str(home), "explain"]):
        with tagfleet(home, *arguments) as process:
            out, _ = process.communicate()
        assert out.startswith("resnet50: hold")
        assert "nothing waits and no worker runs: rest." in out
    with tagfleet(home, "explain", "--pool", "other") as process:
        _, said = process.communicate()
    assert process.returncode == 1
    assert "no decision about the pool 'other'" in said
