"""The fleet's view of several web processes: one of them reads for all, and a new one knows what a dead one knew."""

from __future__ import annotations

import copy
import threading

import pytest

from core.errors import Unavailable
from core.fleet.roster import Heartbeat, RoleBeat, Roster, WorkerState
from core.storage.memory import MemoryStore
from tests.clock import Clock
from web_tier.server.host_memory import HostMemory, Record
from web_tier.services.fleet_view import FleetView

LOST_S = 15.0


class Counted(Roster):
    """Counts the readings, which cost money on S3."""

    readings = 0
    fails = False

    def workers(self) -> list[Heartbeat]:
        self.readings += 1
        if self.fails:
            raise Unavailable("the store does not answer")
        return super().workers()


class Processes:
    """Views of processes that share a record, as each of them sees it after the fork."""

    def __init__(self, roster: Roster, clock: Clock) -> None:
        self._roster = roster
        self._clock = clock
        self.record: Record = Record(HostMemory(2))

    def view(self) -> FleetView:
        return FleetView(self._roster, lost_after_s=LOST_S, clock=self._clock, record=copy.copy(self.record))


@pytest.fixture
def roster() -> Counted:
    return Counted(MemoryStore(lambda: 0.0))


@pytest.fixture
def processes(roster, clock) -> Processes:
    return Processes(roster, clock)


def beat(seq: int, **fields: object) -> Heartbeat:
    given = {
        "worker_id": "w",
        "pool": "p",
        "tagger": "t",
        "state": WorkerState.IDLE,
        "at": 0.0,
        "state_since": 0.0,
        "started_at": 0.0,
    }
    return Heartbeat.model_validate(given | {"seq": seq} | fields)


def test_many_questions_in_a_second_are_one_reading_whoever_is_asked(roster, clock, processes):
    views = [processes.view() for _ in range(3)]
    roster.beat(beat(1))
    for _ in range(20):
        assert [[one.worker_id for one in view.workers()] for view in views] == [["w"]] * 3
        clock.now += 0.04
    assert roster.readings == 1
    clock.now += 1.0
    assert [len(view.workers()) for view in views] == [1, 1, 1]
    assert roster.readings == 2


def test_in_the_background_they_read_as_often_as_one(roster, clock, processes):
    views = [processes.view() for _ in range(3)]
    for step in range(180):  # a minute, in which each looks every five seconds, at times of its own
        clock.now += 1 / 3
        for number, view in enumerate(views):
            if step % 15 == 5 * number:
                view._snapshot(view._every_s)
    assert 8 <= roster.readings <= 12


def test_a_new_process_knows_how_long_everything_has_been_silent(roster, clock, processes):
    old = processes.view()
    roster.beat(beat(1, state=WorkerState.BUSY, held=3))
    roster.beat_role(RoleBeat(role="controller", id="c", seq=1, at=0.0))
    for _ in range(12):
        assert len(old.workers()) + len(old.lost()) == 1
        clock.now += 5
    new = processes.view()
    (lost,) = new.lost()
    assert lost.silent_s == pytest.approx(60)
    assert [role.silent_s for role in new.roles()] == [pytest.approx(60)]


def test_a_sign_of_life_that_one_process_saw_counts_for_all(roster, clock, processes):
    first, second = processes.view(), processes.view()
    for seq in range(20):
        roster.beat(beat(seq))
        assert len((first if seq % 2 else second).workers()) == 1
        clock.now += 4
    assert first.lost() == second.lost() == []


def test_an_outage_is_told_by_each_process_and_ends_for_all(roster, clock, processes):
    first, second = processes.view(), processes.view()
    roster.beat(beat(1))
    assert len(first.workers()) == 1
    clock.now += 2
    roster.fails = True
    for view in (first, second):
        with pytest.raises(Unavailable):
            view.workers()
    roster.fails = False
    assert len(second.workers()) == len(first.workers()) == 1


def test_while_another_process_hangs_in_its_reading_the_last_one_serves(roster, clock, processes):
    """A request for a batch says how many workers there are; it must not hang, too."""
    view = processes.view()
    roster.beat(beat(1))
    assert len(view.workers()) == 1
    clock.now += 3
    with processes.record.lock:
        assert len(view.workers()) == 1
        assert roster.readings == 1
    done = threading.Event()
    clock.now += 20
    processes.record.lock.acquire()
    thread = threading.Thread(target=lambda: (view.workers(), done.set()))
    thread.start()
    assert not done.is_set(), "what is too old serves nobody"
    processes.record.lock.release()
    thread.join(60)
    assert done.is_set()
    assert roster.readings == 2
