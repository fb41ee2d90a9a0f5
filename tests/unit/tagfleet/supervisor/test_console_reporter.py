from __future__ import annotations

from typing import Literal

import pytest

from core.fleet.decisions import DecisionRecord
from core.fleet.events import FleetEvent, Kind
from core.fleet.roster import BootTimings, Heartbeat, PoolStatus, WorkerState
from tagfleet.client import Batch
from tagfleet.supervisor.console_reporter import ConsoleReporter, Snapshot

BOOT = BootTimings(process=0.1, imports=0.5, weights=1.0, first_inference=1.2, ready=1.42)


def worker(state: WorkerState, *, id: str = "wrk-1", held: int = 0, done: int = 0, notice: str = "") -> Heartbeat:
    boot = BOOT if state not in (WorkerState.STARTING, WorkerState.WARMING) else None
    return Heartbeat(
        worker_id=id,
        pool="resnet50",
        tagger="resnet50",
        state=state,
        seq=1,
        at=0,
        state_since=0,
        started_at=0,
        held=held,
        images_done=done,
        boot=boot,
        notice=notice,
    )


def batch(status: str, *, completed: int = 0, failed: int = 0, total: int = 30, id: str = "bat_1") -> Batch:
    return Batch(id, status, "resnet50", total, completed, failed)


def pool(notice: str, state: Literal["preparing", "ready", "failed"] = "ready") -> PoolStatus:
    return PoolStatus(pool="resnet50", wanted="resnet50", serves="efficientnet-lite0", state=state, notice=notice, at=0)


def decision(action: str, at: float) -> DecisionRecord:
    return DecisionRecord(
        at=at, pool="resnet50", action=action, reason="30 images wait and no worker runs: launch 1", terms={}
    )


REASONS: dict[Kind, str] = {
    "ready": "1.4 s after its launch",
    "drained": "it has finished what it held",
    "ended": "its time to drain is over",
    "lost": "it gives no sign of life",
    "gone": "its machine was taken away",
    "boot_failed": "it ended before it was ready: killed by SIGKILL; probably out of memory",
    "interrupted": "a spot notice",
}


def event(kind: Kind, id: str = "wrk-1", at: float = 0.0, reason: str = "") -> FleetEvent:
    why = reason or REASONS.get(kind, "so it is")
    return FleetEvent(at=at, kind=kind, pool="resnet50", worker_id=id, by="itself", reason=why)


def told(*snapshots: Snapshot) -> list[list[str]]:
    reporter = ConsoleReporter()
    return [reporter.report(snapshot) for snapshot in snapshots]


def test_an_offer_is_told_once():
    offered = pool("").model_copy(update={"offer": "Do this."})
    assert told(Snapshot(), Snapshot(pools=[offered]), Snapshot(pools=[offered]))[1:] == [
        ["pool resnet50: Do this."],
        [],
    ]


def test_the_life_of_a_worker():
    launched, ready, drained, ended = map(event, ("launched", "ready", "drained", "ended"))
    snapshots = [
        Snapshot(),
        Snapshot([worker(WorkerState.WARMING)], events=[launched]),
        Snapshot([worker(WorkerState.IDLE)], events=[launched, ready]),
        Snapshot([worker(WorkerState.BUSY, held=3)], events=[launched, ready]),
        Snapshot([worker(WorkerState.DRAINED, done=30)], events=[launched, ready, drained, ended]),
        Snapshot([worker(WorkerState.DRAINED, done=30)], events=[launched, ready, drained, ended]),
        Snapshot(events=[launched, ready, drained, ended]),
    ]
    assert told(*snapshots) == [
        [],
        [],
        ["worker wrk-1 is ready 1.4 s after its launch"],
        [],
        ["worker wrk-1 stopped: it has finished what it held (30 images done)"],
        [],
        [],
    ]


def test_a_worker_that_was_forgotten_before_it_was_seen_drained():
    snapshots = [Snapshot(), Snapshot([worker(WorkerState.IDLE, done=1)]), Snapshot(events=[event("drained")])]
    assert told(*snapshots)[2] == ["worker wrk-1 stopped: it has finished what it held (1 image done)"]


@pytest.mark.parametrize(
    ("kind", "held", "line"),
    [
        ("gone", 8, "worker wrk-1 is gone: its machine was taken away; the 8 images it held go back to the queue"),
        ("lost", 1, "worker wrk-1 is lost: it gives no sign of life; the 1 image it held goes back to the queue"),
        ("lost", 0, "worker wrk-1 is lost: it gives no sign of life"),
        ("boot_failed", 0, "worker wrk-1 did not start: " + REASONS["boot_failed"]),
        ("interrupted", 8, "worker wrk-1 is being taken away: a spot notice"),
        ("ended", 8, "worker wrk-1 was ended: its time to drain is over"),
        ("launched", 0, None),
        ("adopted", 0, None),
        ("orphan", 0, None),
        ("asked_to_drain", 8, None),
    ],
)
def test_an_end_is_told_once_and_with_the_recorded_reason(kind: Kind, held: int, line: str | None):
    seen = Snapshot([worker(WorkerState.BUSY, held=held)])
    after = Snapshot(events=[event(kind)])
    assert told(Snapshot(), seen, after, after)[2:] == [[line] if line else [], []]


@pytest.mark.parametrize("first", ["drained", "lost", "boot_failed", "orphan"])
@pytest.mark.parametrize("together", [False, True])
def test_that_the_controller_ends_such_a_worker_is_no_news(first: Kind, together: bool):
    one, both = [event(first)], [event(first), event("ended", at=1.0)]
    looks = [Snapshot(events=both)] if together else [Snapshot(events=one), Snapshot(events=both)]
    lines = [line for look in told(Snapshot(), *looks) for line in look]
    assert not any("was ended" in line for line in lines)


def test_a_worker_without_a_heartbeat_is_told_by_its_events_alone():
    """One record may be read before the other: nothing is made up meanwhile."""
    events = [event("drained"), event("gone", "wrk-2")]
    assert told(Snapshot(), Snapshot(events=events))[1] == [
        "worker wrk-1 stopped: it has finished what it held",
        "worker wrk-2 is gone: its machine was taken away",
    ]
    vanished = [Snapshot(), Snapshot([worker(WorkerState.BUSY, held=8)]), *[Snapshot()] * 3]
    assert told(*vanished) == [[]] * 5


def test_a_worker_that_was_broken_in_its_work_says_by_what():
    drained = event("drained", reason="it ended in the middle of work: RuntimeError: out of order")
    snapshots = [Snapshot(), Snapshot([worker(WorkerState.BUSY, held=1)]), Snapshot(events=[drained])]
    assert told(*snapshots)[2] == ["worker wrk-1 stopped: it ended in the middle of work: RuntimeError: out of order"]


def test_what_was_there_at_the_start_is_no_news_but_notices_are():
    snapshots = [
        Snapshot([worker(WorkerState.IDLE)], [pool("no weights")], [decision("launch 1", 1)], [batch("completed")]),
        Snapshot([worker(WorkerState.IDLE)], [pool("no weights")], [decision("launch 1", 1)], [batch("completed")]),
        Snapshot([worker(WorkerState.IDLE, notice="the disk is full")], [pool("other weights")], batches=None),
    ]
    assert told(*snapshots) == [
        ["pool resnet50: no weights"],
        [],
        ["pool resnet50: other weights", "worker wrk-1: the disk is full"],
    ]


def test_launches_are_told_with_their_reason():
    snapshots = [Snapshot(decisions=[decision("hold", 1)]), Snapshot(decisions=[decision("launch 1", 2)])] * 2
    assert told(*snapshots)[1] == ["pool resnet50: 30 images wait and no worker runs: launch 1"]


def test_a_batch_begins_and_ends_once():
    running = batch("in_progress", completed=3)
    snapshots = [
        Snapshot(batches=[]),
        Snapshot(batches=[batch("open", total=0)]),
        Snapshot(batches=[batch("open")]),
        Snapshot(batches=[running]),
        Snapshot(batches=None),
        Snapshot(batches=[batch("completed", completed=30, failed=2)]),
        Snapshot(batches=[batch("completed", completed=30, failed=2)]),
    ]
    assert told(*snapshots) == [
        [],
        [],
        ["batch bat_1: images are coming in"],
        [],
        [],
        ["batch bat_1: 28 of 30 tagged, 2 failed"],
        [],
    ]


def test_a_batch_that_went_on_over_a_restart_is_told_when_it_ends():
    snapshots = [Snapshot(batches=[batch("queued")]), Snapshot(batches=[batch("completed", completed=30)])]
    assert told(*snapshots)[1] == ["batch bat_1: 30 of 30 tagged"]


def test_getting_ready_is_told():
    snapshots = [Snapshot(pools=[pool("", "preparing")])] * 2 + [Snapshot(pools=[pool("no weights")])] * 2
    assert told(*snapshots) == [
        ["pool resnet50: getting efficientnet-lite0 ready; the first time this may take a minute"],
        [],
        ["pool resnet50: no weights", "pool resnet50: efficientnet-lite0 is ready"],
        [],
    ]
