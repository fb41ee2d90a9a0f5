"""What `tagfleet status` says of workers."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from config import settings as config
from core.roster import Heartbeat, WorkerState
from core.wiring import Backend
from tagfleet.cli.status import of_fleet


@pytest.mark.parametrize(
    ("heartbeat_s", "silent_s", "told"), [(1.0, 10.0, True), (5.0, 10.0, False), (5.0, 60.0, True)]
)
def test_a_worker_is_silent_when_several_of_its_beats_are_missing(
    tmp_path: Path, heartbeat_s: float, silent_s: float, told: bool
) -> None:
    backend = Backend(config.load({}, flags={"home": str(tmp_path), "worker.heartbeat_s": heartbeat_s}))
    at = time.time() - silent_s
    backend.roster.beat(
        Heartbeat(
            worker_id="w-1",
            pool="resnet50",
            tagger="resnet50",
            state=WorkerState.IDLE,
            seq=1,
            at=at,
            state_since=at,
            started_at=at,
        )
    )
    assert ("last heard of" in "\n".join(of_fleet(backend))) is told
