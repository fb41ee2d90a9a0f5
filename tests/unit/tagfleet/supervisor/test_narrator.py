from __future__ import annotations

from typing import Literal

import pytest

from core.fleet.fleet_changes import FleetChange, Kind
from core.fleet.roster import BootTimings, DecisionRecord, Heartbeat, PoolStatus, WorkerState
from tagfleet.client import Batch
from tagfleet.supervisor.narrator import Narrator, View

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


def change(kind: Kind, id: str = "wrk-1") -> FleetChange:
    reason = "it has finished what it held"
    return FleetChange(at=0, kind=kind, pool="resnet50", worker_id=id, by="itself", reason=reason)


def told(*views: View) -> list[list[str]]:
    narrator = Narrator()
    return [narrator.lines(view) for view in views]


def test_the_life_of_a_worker():
    views = [
        View(batches=[]),
        View([worker(WorkerState.WARMING)], batches=[]),
        View([worker(WorkerState.IDLE)], batches=[]),
        View([worker(WorkerState.BUSY, held=3)], batches=[]),
        View([worker(WorkerState.DRAINED, done=30)], batches=[]),
        View([worker(WorkerState.DRAINED, done=30)], batches=[]),
        View(batches=[]),
    ]
    assert told(*views) == [
        [],
        [],
        ["worker wrk-1 ready after 1.4 s"],
        [],
        ["worker wrk-1 stopped: nothing left to do (30 images done)"],
        [],
        [],
    ]


def test_a_worker_that_was_forgotten_before_it_was_seen_drained():
    views = [View(batches=[]), View([worker(WorkerState.IDLE, done=1)], batches=[]), View(batches=[])]
    assert told(*views)[2] == ["worker wrk-1 stopped: nothing left to do (1 image done)"]


def test_a_lost_worker():
    busy, warming = worker(WorkerState.BUSY, held=8), worker(WorkerState.WARMING, id="wrk-2")
    lost = [change("gone"), change("boot_failed", "wrk-2")]
    views = [View(batches=[]), View([busy, warming], batches=[]), View(changes=lost, batches=[]), View(batches=[])]
    [*_, said, after] = told(*views)
    assert sorted(said) == [
        "worker wrk-1 was lost; the 8 images it held go back to the queue",
        "worker wrk-2 was lost while it started",
    ]
    assert after == []


def test_a_worker_that_ended_while_it_started_says_how():
    reason = "it ended before it was ready: killed by SIGKILL; probably out of memory"
    lost = [change("boot_failed").model_copy(update={"reason": reason})]
    views = [View(batches=[]), View([worker(WorkerState.WARMING)], batches=[]), View(changes=lost, batches=[])]
    said = "worker wrk-1 was lost while it started: killed by SIGKILL; probably out of memory"
    assert told(*views)[2] == [said]


def test_a_lost_worker_of_which_nothing_is_on_record_is_told_a_look_later():
    views = [View(batches=[]), View([worker(WorkerState.BUSY, held=1)], batches=[]), *[View(batches=[])] * 3]
    assert told(*views)[2:] == [[], ["worker wrk-1 was lost; the 1 image it held go back to the queue"], []]


@pytest.mark.parametrize("state", [WorkerState.BUSY, WorkerState.DRAINING, WorkerState.WARMING])
@pytest.mark.parametrize("late", [False, True])
def test_a_worker_that_drained_between_two_looks_was_not_lost(state: WorkerState, late: bool):
    """The controller forgets the worker and writes down what became of it, and a look may fall between the two."""
    held = 0 if state is WorkerState.WARMING else 8
    drained = View(changes=[change("launched"), change("drained"), change("ended")], batches=[])
    views = [
        View(batches=[]),
        View([worker(state, held=held)], batches=[]),
        *[View(batches=[])] * late,
        drained,
        drained,
    ]
    lines = [line for look in told(*views)[2:] for line in look]
    assert lines == ["worker wrk-1 stopped: it has finished what it held"]


def test_a_worker_that_was_broken_in_its_work_says_by_what():
    broken = worker(WorkerState.DRAINED).model_copy(update={"ended_by": "RuntimeError: out of order"})
    views = [View(batches=[]), View([worker(WorkerState.BUSY, held=1)], batches=[]), View([broken], batches=[])]
    assert told(*views)[2] == ["worker wrk-1 ended in the middle of work: RuntimeError: out of order"]


def test_what_was_there_at_the_start_is_no_news_but_notices_are():
    views = [
        View([worker(WorkerState.IDLE)], [pool("no weights")], [decision("launch 1", 1)], [batch("completed")]),
        View([worker(WorkerState.IDLE)], [pool("no weights")], [decision("launch 1", 1)], [batch("completed")]),
        View([worker(WorkerState.IDLE, notice="the disk is full")], [pool("other weights")], batches=None),
    ]
    assert told(*views) == [
        ["pool resnet50: no weights"],
        [],
        ["pool resnet50: other weights", "worker wrk-1: the disk is full"],
    ]


def test_launches_are_told_with_their_reason():
    views = [View(decisions=[decision("hold", 1)]), View(decisions=[decision("launch 1", 2)])] * 2
    assert told(*views)[1] == ["pool resnet50: 30 images wait and no worker runs: launch 1"]


def test_a_batch_begins_and_ends_once():
    running = batch("in_progress", completed=3)
    views = [
        View(batches=[]),
        View(batches=[batch("open", total=0)]),
        View(batches=[batch("open")]),
        View(batches=[running]),
        View(batches=None),
        View(batches=[batch("completed", completed=30, failed=2)]),
        View(batches=[batch("completed", completed=30, failed=2)]),
    ]
    assert told(*views) == [
        [],
        [],
        ["batch bat_1: images are coming in"],
        [],
        [],
        ["batch bat_1: 28 of 30 tagged, 2 failed"],
        [],
    ]


def test_a_batch_that_went_on_over_a_restart_is_told_when_it_ends():
    views = [View(batches=[batch("queued")]), View(batches=[batch("completed", completed=30)])]
    assert told(*views)[1] == ["batch bat_1: 30 of 30 tagged"]


def test_getting_ready_is_told():
    views = [View(pools=[pool("", "preparing")])] * 2 + [View(pools=[pool("no weights")])] * 2
    assert told(*views) == [
        ["pool resnet50: getting efficientnet-lite0 ready; the first time this may take a minute"],
        [],
        ["pool resnet50: no weights", "pool resnet50: efficientnet-lite0 is ready"],
        [],
    ]
