"""Liveness as properties: whoever reads, however slowly, and whatever is forgotten meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from hypothesis import given
from hypothesis import settings as properties
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from core.fleet.liveness import Attention, Liveness
from core.fleet.roster import Heartbeat, RoleBeat, Roster, WorkerState
from core.local.store import LocalStore
from core.storage.memory import MemoryStore
from web_tier.services.fleet_view import FleetView

LOST_S = 15.0


class TestLiveness:
    @given(st.lists(st.tuples(st.integers(0, 2), st.floats(0, 100)), min_size=1))
    def test_silence_is_the_watching_since_the_last_change(self, looks):
        liveness, silent = Liveness(), None
        before = None
        for mark, elapsed in looks:
            liveness.look({"w": mark}, elapsed)
            silent = 0.0 if silent is None or mark != before else silent + elapsed
            before = mark
            assert liveness.silent_s("w") == silent

    @given(st.lists(st.one_of(st.none(), st.integers(0, 3)), min_size=1))
    def test_only_a_mark_that_was_seen_to_change_proves_life(self, marks):
        liveness = Liveness()
        for mark in marks:
            liveness.look({"w": mark}, 1.0)
        heard = [mark for mark in marks if mark is not None]
        assert liveness.moved("w") is any(a != b for a, b in pairwise(heard))

    def test_nothing_heard_is_no_sign_of_life(self):
        liveness = Liveness()
        for mark in (1, None, 1, None):
            liveness.look({"w": mark}, 2.0)
        assert liveness.silent_s("w") == 6.0
        liveness.look({}, 2.0)
        assert liveness.silent_s("w") == 0.0

    @given(st.lists(st.floats(0, 1e6), min_size=1))
    def test_a_gap_counts_for_little(self, gaps):
        now = [0.0]
        attention = Attention(lambda: now[0], 5.0)
        assert attention.elapsed() == 0.0
        for gap in gaps:
            now[0] += gap
            assert attention.elapsed() <= min(gap + 1e-6, 5.0)


@dataclass
class Process:
    """A worker as it is: what it would say, and for how long it has not said it."""

    id: str
    seq: int = 0
    state: WorkerState = WorkerState.IDLE
    dead: bool = False
    quiet_s: float = 0.0


class Deployment(RuleBasedStateMachine):
    """Workers that beat, pause, die and drain, and two readers that look when they will; no controller runs."""

    def __init__(self) -> None:
        super().__init__()
        self.store = MemoryStore(lambda: 0.0)
        self.now = 0.0
        self.workers: list[Process] = []

    @initialize()
    def readers(self) -> None:
        self.views = [FleetView(Roster(self.store), lost_after_s=LOST_S, clock=lambda: self.now) for _ in range(2)]
        self.looked = [0.0, 0.0]

    def say(self, worker: Process) -> None:
        worker.seq += 1
        worker.quiet_s = 0.0
        Roster(self.store).beat(
            Heartbeat(
                worker_id=worker.id,
                pool="p",
                tagger="t",
                state=worker.state,
                seq=worker.seq,
                at=-1e9,  # a clock that is wrong
                state_since=0.0,
                started_at=0.0,
            )
        )

    @precondition(lambda self: len(self.workers) < 4)
    @rule()
    def start(self) -> None:
        self.workers.append(Process(f"w-{len(self.workers)}"))
        self.say(self.workers[-1])

    @rule(index=st.integers(0, 3), how=st.sampled_from(["beat", "die", "drain"]))
    def act(self, index: int, how: str) -> None:
        if index >= len(self.workers) or self.workers[index].dead:
            return
        worker = self.workers[index]
        worker.dead = how != "beat"
        if how == "drain":
            worker.state = WorkerState.DRAINED
        if how != "die":
            self.say(worker)

    @rule(seconds=st.floats(0.1, 14.0), beating=st.booleans())
    def pass_time(self, seconds: float, beating: bool) -> None:
        self.now += seconds
        for worker in self.workers:
            worker.quiet_s += seconds
            if beating and not worker.dead:
                self.say(worker)

    @rule(seconds=st.floats(60.0, 1e6))
    def all_sleep(self, seconds: float) -> None:
        """The machine was suspended: nobody beats, nobody looks. It counts as two looks that were missed, no more."""
        self.now += seconds
        for worker in self.workers:
            worker.quiet_s += 2 * LOST_S / 3

    @rule(reader=st.integers(0, 1))
    def look(self, reader: int) -> None:
        """Whoever was heard of within the time that a reader has watched is not lost."""
        self.now += 1.0
        for worker in self.workers:
            worker.quiet_s += 1.0
        view = self.views[reader]
        live = {beat.worker_id for beat in view.workers()}
        lost = {one.beat.worker_id for one in view.lost()}
        assert not live & lost
        for worker in self.workers:
            if worker.quiet_s < LOST_S:
                assert worker.id not in lost
                if not worker.dead:
                    assert worker.id in live, "forgotten, and yet it spoke"

    @rule()
    def wait_for_the_end(self) -> None:
        """Of the dead nothing is left, and of the living nothing is lost."""
        for _ in range(150):
            self.now += 5.0
            for worker in self.workers:
                worker.quiet_s += 5.0
                if not worker.dead:
                    self.say(worker)
            for view in self.views:
                view.workers()
        left = {beat.worker_id for beat in Roster(self.store).workers()}
        assert left == {worker.id for worker in self.workers if not worker.dead}

    @invariant()
    def the_living_are_on_record(self) -> None:
        """Whoever spoke within the last minutes is: only silence of minutes is forgotten."""
        if not hasattr(self, "views"):
            return
        left = {beat.worker_id for beat in Roster(self.store).workers()}
        for worker in self.workers:
            if worker.quiet_s < LOST_S:
                assert worker.id in left


Deployment.TestCase.settings = properties(max_examples=20, stateful_step_count=15)
TestDeployment = Deployment.TestCase


def beat(worker: str, seq: int, **more: object) -> Heartbeat:
    known = {"pool": "p", "tagger": "t", "state": WorkerState.IDLE, "at": 0.0, "state_since": 0.0, "started_at": 0.0}
    return Heartbeat(worker_id=worker, seq=seq, **{**known, **more})


class TestForgetting:
    def test_one_that_speaks_at_the_last_moment_is_kept(self, tmp_path):
        roster = Roster(LocalStore(tmp_path))
        for seq in (1, 2):
            roster.beat(beat("w", seq))
        assert roster.forget_silent({"w": 1, "gone": 3}) == []
        assert [one.seq for one in roster.workers()] == [2]
        roster.request_drain("w")
        assert roster.forget_silent({"w": 2}) == ["w"]
        assert (roster.workers(), roster.drain_requests()) == ([], set())

    def test_while_a_controller_lives_it_is_left_to_it(self, tmp_path):
        """It also knows the machines: whether there is one that has to be ended first."""
        now = [0.0]
        roster = Roster(LocalStore(tmp_path))
        view = FleetView(roster, lost_after_s=LOST_S, clock=lambda: now[0])
        roster.beat(beat("lost", 1))
        roster.beat(beat("drained", 1, state=WorkerState.DRAINED))

        def watch(seconds: int, *, ended: bool = False, from_: int = 0) -> list[str]:
            for second in range(0, seconds, 5):
                now[0] += 5
                roster.beat_role(RoleBeat(role="controller", id="c", seq=from_ + second, at=0.0, ended=ended))
                view.workers()
            return sorted(one.worker_id for one in roster.workers())

        assert watch(1000) == ["drained", "lost"]
        assert watch(10, ended=True, from_=1000) == []
