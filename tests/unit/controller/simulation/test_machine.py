"""The real loop over the simulated cloud, and anything that can happen to both. All nine invariants of the controller
are checked after every step, and those that speak of time after every tick:

1. instances that cost something, leaving ones included, are never more than the cap, whatever crashes
2. no worker is ended while it may be working
3. every image ends once: with a result, or as a dead letter
4. a launch that was intended is made at most once
5. readings that fail, or are old, take nothing from the fleet
6. every instance of ours is adopted or ended within a bounded time
7. what is spent stays within the budget
8. a dry run changes nothing
9. where work waits and a worker may be had, one is there within B + 2 ticks; where nothing waits, all go

Two pools under one cap, heartbeats through a store and answers that are lost are played with in
`tests/unit/controller/test_machine.py`.
"""

from __future__ import annotations

import json

import pytest
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from config import settings as config
from controller.loop import Controller, Ports
from controller.simulation.cloud import Cloud
from controller.simulation.roster import SimulatedRoster
from controller.simulation.scene import CALM, ROUGH, scene
from controller.simulation.timeline import Timeline
from controller.simulation.worker import SimulatedWorker
from core.errors import Unavailable
from core.storage import layout
from core.storage.memory import MemoryStore
from core.storage.ports import InstanceState, Offering
from core.util.clock import Clock
from tests.unit.controller.simulation.conftest import MACHINE
from tests.unit.controller.simulation.fuse import Crash, Fuse
from tests.unit.controller.simulation.stopwatch import Stopwatches

CAP = 4
BUDGET = 1.1
MENU = [Offering("gpu", "a", "spot", 0.2), Offering("gpu", "b", "spot", 0.3), Offering("gpu", "a", "on-demand", 0.5)]
TICK_S = 5.0
READINGS = ["instances", "glance", "depth", "offerings"]
CHANGES = ["request_drain", "terminate", "launch", "put", "delete", "forget"]
numbers = st.integers(0, 99)


class Life(RuleBasedStateMachine):
    def __init__(self, seed: int = 1) -> None:
        super().__init__()
        self.timeline = Timeline(1_700_000_000.0)
        stage = scene(config.load({}).controller, MACHINE, ROUGH, max_workers=CAP, tick_s=TICK_S)
        self.controls = stage.controls.model_copy(update={"budget_per_hour": BUDGET})
        self.cloud = Cloud("p", MACHINE, ROUGH, self.timeline, seed)
        self.cloud.menu = list(MENU)
        self.store = MemoryStore()
        self.fuse = Fuse()
        self.strays = 0
        self.watches = Stopwatches(self.controls)
        self.controllers = [self.controller()]

    def controller(self, *, dry_run: bool = False) -> Controller:
        around = self.fuse.around
        return Controller(
            Ports(
                around(self.store),
                around(self.cloud),
                {"p": around(self.cloud.queue)},
                around(SimulatedRoster(self.store, self.cloud)),
            ),
            self.controls,
            dry_run=dry_run,
            clock=Clock(lambda: self.timeline.now, lambda: self.timeline.now),
        )

    # --- what happens to the fleet ------------------------------------------------------------

    @rule(images=st.integers(1, 400) | st.integers(1_000, 3_000))
    def images_arrive(self, images: int) -> None:
        self.cloud.arrive(images)

    @rule(ticks=st.integers(1, 12))
    def time_passes(self, ticks: int) -> None:
        for _ in range(ticks):
            self.timeline.run_until(self.timeline.now + TICK_S)
            self.tick_all()

    @rule(calm=st.booleans())
    def the_weather_changes(self, calm: bool) -> None:
        self.cloud.weather = self.cloud.queue.weather = CALM if calm else ROUGH

    @rule(number=numbers, what=st.sampled_from(["die", "hang", "interrupt"]))
    def something_happens_to_a_worker_maybe_in_the_middle_of_a_batch(self, number: int, what: str) -> None:
        alive = [one for one in self.cloud.workers.values() if one.alive]
        if alive:
            getattr(self.cloud, what)(alive[number % len(alive)])

    @precondition(lambda self: not self.there and self.nothing_is_on_its_way)
    @rule(speaks=st.booleans())
    def an_instance_comes_that_nobody_launched(self, speaks: bool) -> None:
        """One, and into an empty fleet to which none is on its way: what others launch no cap of ours can hold."""
        self.strays += 1
        try:
            self.cloud.launch("p", 1, f"stray-{self.strays}", MENU[0])
        except Unavailable:
            return
        for one in self.cloud.launches[f"stray-{self.strays}"]:
            one.listed_at = self.timeline.now
            if not speaks:
                self.cloud.hang(one)

    @rule(menu=st.permutations(MENU))
    def prices_change(self, menu: list[Offering]) -> None:
        self.cloud.menu = menu

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
            self.timeline.run_until(self.timeline.now + TICK_S)
            self.tick_all(skip=1)

    @rule()
    def the_clock_jumps(self) -> None:
        self.timeline.now += 900.0
        self.watches.reset()

    @precondition(lambda self: all(one.listed_at <= self.timeline.now for one in self.cloud.workers.values()))
    @rule()
    def the_ledger_is_lost(self) -> None:
        """While nothing is on its way: an intent that was never read again is the one thing that cannot be rebuilt."""
        self.store.delete([layout.CONTROLLER])

    @rule(call=st.sampled_from(READINGS), ticks=st.integers(1, 6))
    def a_reading_fails_and_nothing_is_taken_from_the_fleet(self, call: str, ticks: int) -> None:
        self.fuse.broken.add(call)
        for _ in range(ticks):
            self.timeline.run_until(self.timeline.now + TICK_S)
            before = len(self.fuse.calls)
            self.tick_all()
            made = self.fuse.calls[before:]
            assert not {"request_drain", "terminate"} & set(made), "a failed reading never reduces the fleet"
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
        failed, made = self.fuse.failed, len(self.fuse.calls)
        room, crashed, leader, plan = self.room, False, None, None
        for number in range(skip, len(self.controllers)):
            try:
                planned = self.controllers[number].tick()
            except Crash:
                self.controllers[number], crashed = self.controller(), True
            else:
                leader, plan = (self.controllers[number].owner, planned) if planned else (leader, plan)
        self.watches.tick(
            self.cloud,
            leader,
            plan.pools[0].terms if plan else None,
            hindered=skip > 0 or crashed or self.fuse.failed > failed,
            may_launch=room and "launch" not in self.fuse.calls[made:],
            unknown=self.unknown(),
        )

    # --- what is so ---------------------------------------------------------------------------

    @property
    def there(self) -> list[SimulatedWorker]:
        """All that cost something."""
        return [one for one in self.cloud.workers.values() if one.instance.state is not InstanceState.GONE]

    @property
    def spend(self) -> float:
        return sum(one.instance.price for one in self.there)

    @property
    def room(self) -> bool:
        """Another instance is to be had, within the cap and the budget."""
        prices = [one.price for one in self.cloud.offerings("p")]
        return len(self.there) < CAP and any(self.spend + price <= BUDGET for price in prices)

    @property
    def nothing_is_on_its_way(self) -> bool:
        """No launch that is open was made already, as far as the ledger tells; where it is lost, it does not."""
        if not list(self.store.list(layout.CONTROLLER)):
            return False
        intents = json.loads(self.store.get(layout.CONTROLLER).data)["intents"]
        return not any(intent["token"] in self.cloud.launches for intent in intents)

    def unknown(self) -> list[str]:
        """Instances that run, are listed, and are neither in the ledger nor of a launch in it."""
        running = [one for one in self.cloud.workers.values() if one.alive and one.listed_at <= self.timeline.now]
        if not running or not list(self.store.list(layout.CONTROLLER)):
            return [one.id for one in running]
        book = json.loads(self.store.get(layout.CONTROLLER).data)
        tokens, known = {intent["token"] for intent in book["intents"]}, set(book["known"])
        return [one.id for one in running if one.id not in known and one.instance.token not in tokens]

    # --- what holds ---------------------------------------------------------------------------

    @invariant()
    def no_more_instances_than_the_cap(self) -> None:
        assert len(self.there) <= CAP

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

    @invariant()
    def no_more_is_spent_than_the_budget(self) -> None:
        assert self.spend <= BUDGET + 1e-9

    def teardown(self) -> None:
        """Left alone, everything is worked off, every instance goes, and a new image finds a worker in time."""
        cloud = self.cloud
        self.settled()
        assert not cloud.queue.outstanding, "work waits: a worker must come"
        assert not cloud.billed, "nothing waits: all workers must go"
        self.the_weather_changes(calm=True)
        self.time_passes(1)
        cloud.arrive(1)
        self.settled()
        assert cloud.done + cloud.queue.dead == cloud.queue.sent

    def settled(self) -> None:
        for _ in range(1_500):
            self.time_passes(1)
            if not self.cloud.queue.outstanding and not self.cloud.billed:
                return


def test_whatever_happens() -> None:
    run_state_machine_as_test(Life, settings=hypothesis(max_examples=30, stateful_step_count=25, deadline=None))


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_whatever_happens_for_200_000_steps() -> None:
    long = hypothesis(max_examples=2_000, stateful_step_count=100, deadline=None)
    run_state_machine_as_test(Life, settings=long)
