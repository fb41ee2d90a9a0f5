"""Anything that can happen to a fleet and its controllers, in any order; what holds is checked after every step."""

from __future__ import annotations

from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from config.settings import ControllerSettings
from controller.loop import Controller
from core.fleet.roster import WorkerState
from core.storage.ports import Offering
from tests.unit.controller.fakes import Crash, FakeWorker, World

POOLS = ["one", "two"]
CALLS = ["depth", "depth jobs-one", "instances", "offerings", "launch", "terminate", "put", "get", "list", "delete"]
MENU = [Offering("gpu", "a", "spot", 0.2), Offering("gpu", "b", "spot", 0.25), Offering("gpu", "a", "on-demand", 0.5)]
BUDGET = 0.6
pools = st.sampled_from(POOLS)


class Fleet(RuleBasedStateMachine):
    def __init__(self, controls: ControllerSettings) -> None:
        super().__init__()
        limits = {"max_workers": 3, "lease_s": 3.0, "budget_per_hour": BUDGET}
        self.world = World(controls.model_copy(update=limits), POOLS)
        self.world.fleet.menu = list(MENU)
        self.strays = 0
        self.controllers: list[Controller] = []

    @initialize()
    def start(self) -> None:
        self.controllers = [self.world.controller()]

    # --- what users and workers do ------------------------------------------------------------

    @rule(pool=pools, images=st.integers(1, 300))
    def images_arrive(self, pool: str, images: int) -> None:
        self.world.queues[pool].visible += images

    @rule(seconds=st.integers(1, 12))
    def time_passes(self, seconds: int) -> None:
        for _ in range(seconds):
            self.world.step()
            self.tick_all()

    @rule(data=st.data())
    def a_worker_dies(self, data: st.DataObject) -> None:
        if one := self.any_worker(data):
            self.world.kill(one)

    @rule(data=st.data())
    def a_worker_hangs(self, data: st.DataObject) -> None:
        if one := self.any_worker(data):
            one.hung = True

    @rule(data=st.data())
    def a_boot_will_fail(self, data: st.DataObject) -> None:
        if (one := self.any_worker(data)) and one.beat is None:
            one.doomed = True

    @rule(data=st.data())
    def somebody_else_drains_a_worker(self, data: st.DataObject) -> None:
        if one := self.any_worker(data):
            one.stopping = True

    def any_worker(self, data: st.DataObject) -> FakeWorker | None:
        alive = self.world.fleet.alive
        return data.draw(st.sampled_from(alive)) if alive else None

    @rule(data=st.data())
    def a_machine_is_taken_away(self, data: st.DataObject) -> None:
        one = self.any_worker(data)
        if one and one.beat and one.beat.state is not WorkerState.DRAINED:
            one.leaving, one.stopping = "a spot notice", True
            self.world.say(one, one.beat.state)

    @rule(data=st.data())
    def somebody_stops_a_machine(self, data: st.DataObject) -> None:
        if one := self.any_worker(data):
            self.world.freeze(one)

    @precondition(lambda self: not self.strays and not self.world.fleet.alive)
    @rule()
    def an_instance_comes_that_nobody_launched(self) -> None:
        """One at most, and into an empty fleet: what others launch beside us no cap of ours can hold."""
        self.strays += 1
        with self.world.outside():
            self.world.fleet.launch(POOLS[0], 1, f"stray-{self.strays}", MENU[0])

    # --- what happens to the controllers ------------------------------------------------------

    @rule(fuse=st.integers(1, 25), after=st.booleans())
    def the_controller_dies_between_two_calls(self, fuse: int, after: bool) -> None:
        self.world.fuse, self.world.fuse_after = fuse, after
        self.world.step()
        self.tick_all()
        self.world.fuse = None

    @precondition(lambda self: len(self.controllers) < 3)
    @rule()
    def another_controller_starts(self) -> None:
        self.controllers.append(self.world.controller())

    @precondition(lambda self: len(self.controllers) > 1)
    @rule(seconds=st.integers(1, 10))
    def the_first_controller_stands_still(self, seconds: int) -> None:
        for _ in range(seconds):
            self.world.step()
            self.tick_all(skip=1)

    @rule()
    def the_machine_sleeps(self) -> None:
        self.world.now += 900.0

    @rule()
    def the_ledger_is_lost(self) -> None:
        """While nothing is on its way: an intent that was never read again is the one thing that cannot be rebuilt."""
        fleet = self.world.fleet
        if fleet.listed and not self.world.lost_answers:
            self.time_passes(1)
            self.world.objects.delete(["fleet/controller.json"])

    @rule(seconds=st.integers(1, 20), call=st.sampled_from(CALLS), lost=st.booleans())
    def a_part_does_not_answer(self, seconds: int, call: str, lost: bool) -> None:
        (self.world.lost_answers if lost else self.world.broken).add(call)
        self.time_passes(seconds)
        self.world.broken.clear()
        self.world.lost_answers.clear()

    @rule(room=st.sampled_from([0, 1, 1000]), listed=st.booleans(), sold_out=st.sets(st.sampled_from(MENU)))
    def the_cloud_changes(self, room: int, listed: bool, sold_out: set[Offering]) -> None:
        self.world.fleet.room, self.world.fleet.listed, self.world.fleet.sold_out = room, listed, sold_out

    @rule(menu=st.permutations(MENU))
    def prices_change(self, menu: list[Offering]) -> None:
        self.world.fleet.menu = menu

    def tick_all(self, skip: int = 0) -> None:
        for number in range(skip, len(self.controllers)):
            try:
                self.controllers[number].tick()
            except Crash:
                self.controllers[number] = self.world.controller()

    # --- what holds ---------------------------------------------------------------------------

    @invariant()
    def billable_instances_stay_within_the_cap(self) -> None:
        assert len(self.world.fleet.alive) <= self.world.settings.max_workers

    @invariant()
    def committed_spend_stays_within_the_budget(self) -> None:
        assert sum(one.offering.price for one in self.world.fleet.alive) <= BUDGET + 1e-9

    @invariant()
    def a_token_always_comes_with_the_same_request(self) -> None:
        assert all(len(requests) == 1 for requests in self.world.fleet.requests.values())

    @invariant()
    def no_busy_worker_is_ended(self) -> None:
        assert not self.world.fleet.killed_busy

    @invariant()
    def an_intent_launches_at_most_once(self) -> None:
        tokens = [token for _, _, token in self.world.fleet.launches]
        for token in tokens:
            wanted = max(count for _, count, other in self.world.fleet.launches if other == token)
            assert sum(one.token == token for one in self.world.fleet.workers.values()) <= wanted

    def teardown(self) -> None:
        """Left alone, the fleet works everything off and goes away."""
        world = self.world
        world.fleet.room, world.fleet.listed, world.fleet.sold_out = 1000, True, set()
        for _ in range(600):
            world.step()
            self.tick_all()
            if not world.outstanding and not world.fleet.alive:
                break
        assert not world.outstanding, "work waits: a worker must come"
        assert not world.fleet.alive, "nothing waits: all workers must go"
        assert all(beat.state is not WorkerState.BUSY for beat in world.roster.workers())


def test_whatever_happens(controls: ControllerSettings) -> None:
    run_state_machine_as_test(
        lambda: Fleet(controls), settings=hypothesis(max_examples=40, stateful_step_count=25, deadline=None)
    )
