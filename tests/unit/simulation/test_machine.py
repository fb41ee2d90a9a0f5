"""The real loop over the simulated cloud, and anything that can happen to both; what holds is checked each time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from config import settings as config
from controller.loop import Controller, Ports
from controller.simulation.cloud import Cloud
from controller.simulation.ports import SimulatedRoster, SimulatedStore
from controller.simulation.scene import ROUGH, scene
from controller.simulation.timeline import Timeline
from core.errors import Unavailable
from core.ports import InstanceState
from tests.unit.simulation.conftest import MACHINE

CAP = 4
READINGS = ["instances", "glance", "depth", "offerings"]
CHANGES = ["wish_drain", "terminate", "launch", "put", "delete", "forget"]
numbers = st.integers(0, 99)


class Crash(BaseException):
    """The controller's process is gone: nothing in it may catch this."""


class Fuse:
    """Stands before a port: counts its calls, breaks some, and ends the caller at the one that burns it down."""

    def __init__(self) -> None:
        self.left: int | None = None
        self.after = False
        self.broken: set[str] = set()
        self.calls: list[str] = []

    def around(self, port: Any) -> Any:
        return _Guarded(port, self)

    def burn(self, after: bool) -> None:
        if self.left is not None and self.after is after:
            self.left -= 1
            if self.left <= 0:
                self.left = None
                raise Crash


class _Guarded:
    def __init__(self, port: Any, fuse: Fuse) -> None:
        self._port, self._fuse = port, fuse

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._port, name)
        if not callable(found):
            return found
        call: Callable[..., Any] = found

        def guarded(*args: Any, **kwargs: Any) -> Any:
            self._fuse.calls.append(name)
            if name in self._fuse.broken:
                raise Unavailable(f"{name}: not now")
            self._fuse.burn(after=False)
            answer = call(*args, **kwargs)
            self._fuse.burn(after=True)
            return answer

        return guarded


class Life(RuleBasedStateMachine):
    def __init__(self, seed: int = 1) -> None:
        super().__init__()
        self.timeline = Timeline(1_700_000_000.0)
        self.stage = scene(config.load({}).controller, MACHINE, ROUGH, max_workers=CAP)
        self.cloud = Cloud("p", MACHINE, ROUGH, self.timeline, seed)
        self.store = SimulatedStore()
        self.fuse = Fuse()
        self.controllers = [self.controller()]

    def controller(self, *, dry_run: bool = False) -> Controller:
        around = self.fuse.around
        return Controller(
            Ports(around(self.store), around(self.cloud), {"p": around(self.cloud.queue)}),
            self.stage.controls,
            dry_run=dry_run,
            clock=lambda: self.timeline.now,
            wall=lambda: self.timeline.now,
            roster=around(SimulatedRoster(self.store, self.cloud)),
        )

    # --- what happens to the fleet ------------------------------------------------------------

    @rule(images=st.integers(1, 400))
    def images_arrive(self, images: int) -> None:
        self.cloud.arrive(images)

    @rule(ticks=st.integers(1, 12))
    def time_passes(self, ticks: int) -> None:
        for _ in range(ticks):
            self.timeline.run_until(self.timeline.now + 5.0)
            self.tick_all()

    @rule(number=numbers, what=st.sampled_from(["die", "hang", "interrupt"]))
    def something_happens_to_a_worker_maybe_in_the_middle_of_a_batch(self, number: int, what: str) -> None:
        alive = [one for one in self.cloud.workers.values() if one.alive]
        if alive:
            getattr(self.cloud, what)(alive[number % len(alive)])

    # --- what happens to the controllers ------------------------------------------------------

    @rule(fuse=st.integers(1, 25), after=st.booleans())
    def the_controller_dies_between_two_calls(self, fuse: int, after: bool) -> None:
        self.fuse.left, self.fuse.after = fuse, after
        self.time_passes(1)
        self.fuse.left = None

    @precondition(lambda self: len(self.controllers) < 3)
    @rule()
    def another_controller_starts(self) -> None:
        self.controllers.append(self.controller())

    @precondition(lambda self: len(self.controllers) > 1)
    @rule(ticks=st.integers(1, 6))
    def the_first_controller_stands_still(self, ticks: int) -> None:
        for _ in range(ticks):
            self.timeline.run_until(self.timeline.now + 5.0)
            self.tick_all(skip=1)

    @rule()
    def the_clock_jumps(self) -> None:
        self.timeline.now += 900.0

    @rule(call=st.sampled_from(READINGS), ticks=st.integers(1, 6))
    def a_reading_fails_and_nothing_is_taken_from_the_fleet(self, call: str, ticks: int) -> None:
        self.fuse.broken.add(call)
        for _ in range(ticks):
            self.timeline.run_until(self.timeline.now + 5.0)
            before = len(self.fuse.calls)
            self.tick_all()
            made = self.fuse.calls[before:]
            assert not {"wish_drain", "terminate"} & set(made), "a failed reading never reduces the fleet"
        self.fuse.broken.clear()

    @rule(call=st.sampled_from(CHANGES), ticks=st.integers(1, 6))
    def a_change_fails(self, call: str, ticks: int) -> None:
        self.fuse.broken.add(call)
        self.time_passes(ticks)
        self.fuse.broken.clear()

    @rule()
    def a_dry_run_looks_on(self) -> None:
        onlooker = self.controller(dry_run=True)
        before = len(self.fuse.calls)
        onlooker.tick()
        assert not set(CHANGES) & set(self.fuse.calls[before:]), "a dry run changes nothing"

    def tick_all(self, skip: int = 0) -> None:
        for number in range(skip, len(self.controllers)):
            try:
                self.controllers[number].tick()
            except Crash:
                self.controllers[number] = self.controller()

    # --- what holds ---------------------------------------------------------------------------

    @invariant()
    def no_more_instances_than_the_cap(self) -> None:
        there = [one for one in self.cloud.workers.values() if one.instance.state is not InstanceState.GONE]
        assert len(there) <= CAP

    @invariant()
    def no_worker_is_ended_in_its_work(self) -> None:
        assert not self.cloud.ended_busy

    @invariant()
    def every_image_is_waiting_in_work_done_or_dead_and_only_one_of_these(self) -> None:
        queue = self.cloud.queue
        assert queue.sent == queue.visible + queue.held + self.cloud.done + queue.dead
        assert sum(count for _, count in self.cloud.waits) == self.cloud.done

    @invariant()
    def an_intent_launches_at_most_once(self) -> None:
        tokens = [one.instance.token for one in self.cloud.workers.values()]
        assert all(tokens.count(token) <= len(self.cloud.launches[token]) <= CAP for token in set(tokens))

    def teardown(self) -> None:
        """Left alone, everything is worked off, every instance goes, and a new image finds a worker in time."""
        cloud = self.cloud
        self.settled()
        assert not cloud.queue.outstanding, "work waits: a worker must come"
        assert not cloud.billed, "nothing waits: all workers must go"
        cloud.arrive(1)
        self.settled()
        assert cloud.done + cloud.queue.dead == cloud.queue.sent

    def settled(self) -> None:
        for _ in range(1_500):
            self.timeline.run_until(self.timeline.now + 5.0)
            self.tick_all()
            if not self.cloud.queue.outstanding and not self.cloud.billed:
                return


def test_whatever_happens() -> None:
    run_state_machine_as_test(Life, settings=hypothesis(max_examples=30, stateful_step_count=25, deadline=None))


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_whatever_happens_for_200_000_steps() -> None:
    long = hypothesis(max_examples=2_000, stateful_step_count=100, deadline=None)
    run_state_machine_as_test(Life, settings=long)
