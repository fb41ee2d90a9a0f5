"""`tagfleet status` reports workers that give no sign of life."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from config import settings as config
from core.fleet.roster import Heartbeat, PoolStatus, WorkerSizes, WorkerState
from core.wiring import Backend
from tagfleet.cli.status import fleet_lines


def beat(backend: Backend, seq: int, **more: object) -> None:
    at = time.time() + 3600  # a clock that is an hour ahead says nothing of silence
    known = {"state": WorkerState.IDLE, "tagger": "resnet50", "at": at, "state_since": at, "started_at": at}
    backend.roster.beat(Heartbeat(worker_id="w-1", pool="resnet50", seq=seq, **{**known, **more}))


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return Backend(config.load({}, flags={"home": str(tmp_path), "worker.heartbeat_s": 0.2}))


SILENT = "gives no sign of life"


def test_a_worker_whose_heartbeat_does_not_change_is_silent_whatever_its_clock_says(backend: Backend) -> None:
    beat(backend, 1)
    assert SILENT in " ".join(" ".join(fleet_lines(backend, None)).split())


def test_one_that_beats_while_it_is_looked_at_is_not(backend: Backend) -> None:
    beat(backend, 1)
    over = threading.Event()

    def live() -> None:
        seq = 1
        while not over.wait(0.05):
            beat(backend, seq := seq + 1, at=0.0)

    worker = threading.Thread(target=live)
    worker.start()
    try:
        assert SILENT not in " ".join(" ".join(fleet_lines(backend, None)).split())
    finally:
        over.set()
        worker.join()


def test_a_worker_says_how_much_it_does_at_once(backend: Backend) -> None:
    sizes = WorkerSizes(batch=64, prefetch=1050, receive=3, fetch=32, decode=4, finish=11)
    beat(backend, 1, state=WorkerState.DRAINED, sizes=sizes)
    said = " ".join(" ".join(fleet_lines(backend, None)).split())
    assert "batches of 64, at most 1050 messages; threads: 3 receive, 32 fetch, 4 decode, 11 finish" in said


def test_one_that_has_drained_is_not_waited_for(backend: Backend) -> None:
    beat(backend, 1, state=WorkerState.DRAINED, managed=False)
    said = " ".join(" ".join(fleet_lines(backend, None)).split())
    assert SILENT not in said
    assert "started by hand" in said


def test_each_workers_engine_is_shown(backend: Backend) -> None:
    beat(backend, 1, state=WorkerState.DRAINED, engine="torch cuda fp16 (Tesla T4)")
    lines = list(fleet_lines(backend, None))
    (head,) = (line for line in lines if line.startswith("worker  "))
    (row,) = (line for line in lines if line.startswith("w-1  "))
    assert row.index("torch cuda fp16 (Tesla T4)") == head.index("engine")


def test_an_offer_stands_below_its_pool(backend: Backend) -> None:
    status = PoolStatus(pool="p", wanted="x", serves="x@1", state="ready", at=0.0, offer="Run this command.")
    backend.roster.set_pool(status)
    lines = list(fleet_lines(backend, None))
    assert lines[lines.index("pool p: ready, serves x@1") + 1] == "  Run this command."
