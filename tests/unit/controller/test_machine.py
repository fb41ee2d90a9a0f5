"""Anything that can happen to a fleet and its controllers, in any order; the invariants are checked after every step.

1. instances, leaving ones included, are never more than the cap, whatever crashes
2. no worker is ended while it may be working
3. every image ends once: with a result, or as a dead letter
4. a launch that was intended is made at most once
5. readings that fail, or are old, take nothing from the fleet
6. every instance of ours is adopted or ended within a bounded time
7. spending stays within the budget
8. a dry run changes nothing
9. where work waits and a worker may be had, one is there within B + 2 ticks; where nothing waits, all go

`TwoPools` shares one cap among two pools in calm weather; its heartbeats pass through a store whose answers may be
lost. `RoughWeather` has one pool, and measures how long each thing that must not last has lasted.
"""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import Any

import pytest
from hypothesis import settings as hypothesis
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from config import settings as config
from config.settings import ControllerSettings
from controller.loop import Controller
from controller.simulation.faults import Crash
from controller.simulation.scenario import CALM, ROUGH, build_scenario
from controller.simulation.worker import SimulatedWorker
from controller.simulation.world import World
from controller.state.model import Plan
from core.errors import Unavailable
from core.fleet.roster import WorkerState
from core.storage import layout
from core.storage.ports import Offering
from tests.unit.controller.conftest import small_world
from tests.unit.controller.simulation.conftest import SPEC
from tests.unit.controller.stopwatch import Stopwatches

MENU = [Offering("gpu", "a", "spot", 0.2), Offering("gpu", "b", "spot", 0.3), Offering("gpu", "a", "on-demand", 0.5)]
CALLS = ["depth", "depth jobs-one", "instances", "offerings", "launch", "terminate", "put", "get", "list", "delete"]
READINGS = ["instances", "glance", "depth", "offerings"]
CHANGES = ["request_drain", "terminate", "launch", "put", "delete", "forget"]
numbers = st.integers(0, 99)


class _Fleet(RuleBasedStateMachine):
    """What both machines share. `budget` is in $/h."""

    happenings = ("die", "hang", "interrupt")
    budget = 1.1

    def __init__(self, world: World, controls: ControllerSettings) -> None:
        super().__init__()
        self.world = world
        world.cloud.market.menu = list(MENU)
        self.tick_s = controls.tick_s
        self.cap = controls.max_workers
        self.controllers = [world.controller()]

    # --- what happens to the fleet ------------------------------------------------------------

    @rule(images=st.integers(1, 400) | st.integers(1_000, 3_000), number=numbers)
    def images_arrive(self, images: int, number: int) -> None:
        pools = list(self.world.cloud.queues)
        self.world.send(images, pools[number % len(pools)])

    @rule(ticks=st.integers(1, 12))
    def time_passes(self, ticks: int) -> None:
        for _ in range(ticks):
            self.world.step(self.tick_s)
            self.tick_all()

    @rule(number=numbers, what=numbers)
    def something_happens_to_a_worker_maybe_in_the_middle_of_a_batch(self, number: int, what: int) -> None:
        if one := self.any_worker(number):
            getattr(self.world.cloud, self.happenings[what % len(self.happenings)])(one)

    def any_worker(self, number: int) -> SimulatedWorker | None:
        alive = [one for one in self.world.cloud.workers.values() if one.alive]
        return alive[number % len(alive)] if alive else None

    @precondition(lambda self: not self.world.cloud.present and self.nothing_is_on_its_way)
    @rule(speaks=st.booleans())
    def an_instance_comes_that_nobody_launched(self, speaks: bool) -> None:
        """One, and into an empty fleet to which none is on its way: what others launch no cap of ours can hold."""
        try:
            strays = self.world.launch_outside()
        except Unavailable:
            return
        for one in strays:
            one.listed_at = self.world.now
            if not speaks:
                self.world.cloud.hang(one)

    @rule(menu=st.permutations(MENU))
    def prices_change(self, menu: list[Offering]) -> None:
        self.world.cloud.market.menu = menu

    # --- what happens to the controllers ------------------------------------------------------

    @rule(call=st.integers(1, 25), after=st.booleans())
    def the_controller_dies_between_two_calls(self, call: int, after: bool) -> None:
        self.world.faults.crash_at(call, after=after)
        self.time_passes(1)
        self.world.faults.crash_at(None)

    @precondition(lambda self: len(self.controllers) < 3)
    @rule()
    def another_controller_starts(self) -> None:
        self.controllers.append(self.world.controller())

    @precondition(lambda self: len(self.controllers) > 1)
    @rule(ticks=st.integers(1, 10))
    def the_first_controller_stands_still(self, ticks: int) -> None:
        for _ in range(ticks):
            self.world.step(self.tick_s)
            self.tick_all(skip=1)

    @rule()
    def the_machine_sleeps(self) -> None:
        self.world.now += 900.0

    @precondition(lambda self: all(one.listed_at <= self.world.now for one in self.world.cloud.workers.values()))
    @rule()
    def the_ledger_is_lost(self) -> None:
        """While nothing is on its way: an intent that was never read again is the one thing that cannot be rebuilt."""
        self.world.objects.delete([layout.CONTROLLER])

    def tick_all(self, skip: int = 0) -> tuple[bool, str | None, Plan | None]:
        """Whether one crashed, who leads, and the leader's plan."""
        crashed, leader, plan = False, None, None
        for number in range(skip, len(self.controllers)):
            try:
                planned = self.controllers[number].tick()
            except Crash:
                self.controllers[number], crashed = self.world.controller(), True
            else:
                leader, plan = (self.controllers[number].owner, planned) if planned else (leader, plan)
        return crashed, leader, plan

    # --- what is so ---------------------------------------------------------------------------

    @property
    def spend(self) -> float:
        return sum(one.offering.price for one in self.world.cloud.present)

    @property
    def ledger(self) -> dict[str, Any]:
        """Empty where it is lost."""
        there = list(self.world.objects.list(layout.CONTROLLER))
        return json.loads(self.world.objects.get(layout.CONTROLLER).data) if there else {}

    @property
    def nothing_is_on_its_way(self) -> bool:
        """No launch that is open was made already, as far as the ledger tells; where it is lost, it does not."""
        ledger = self.ledger
        return bool(ledger) and not any(one["token"] in self.world.cloud.launches for one in ledger["intents"])

    # --- what holds ---------------------------------------------------------------------------

    @invariant()
    def no_more_instances_than_the_cap(self) -> None:
        assert len(self.world.cloud.present) <= self.cap

    @invariant()
    def no_more_is_spent_than_the_budget(self) -> None:
        assert self.spend <= self.budget + 1e-9

    @invariant()
    def no_worker_is_ended_in_its_work(self) -> None:
        assert not self.world.cloud.totals.ended_busy

    @invariant()
    def every_image_is_waiting_in_work_done_or_dead_and_only_one_of_these(self) -> None:
        totals, queues = self.world.cloud.totals, self.world.cloud.queues.values()
        ended = totals.done + sum(queue.dead for queue in queues)
        assert sum(queue.sent for queue in queues) == sum(queue.visible + queue.held for queue in queues) + ended
        assert sum(count for _, count in totals.waits) == totals.done

    @invariant()
    def a_token_always_comes_with_the_same_request(self) -> None:
        assert all(len(launch.asked) == 1 for launch in self.world.launches)

    @invariant()
    def an_intent_launches_at_most_once(self) -> None:
        tokens = [one.instance.token for one in self.world.cloud.workers.values()]
        for launch in self.world.launches:
            assert tokens.count(launch.token) <= len(launch.workers) <= min(launch.count, self.cap)

    def settle(self, ticks: int) -> None:
        for _ in range(ticks):
            self.time_passes(1)
            if not self.world.cloud.outstanding and not self.world.cloud.present:
                return


class TwoPools(_Fleet):
    happenings = ("die", "hang", "drain", "halt")
    budget = 0.6

    def __init__(self, controls: ControllerSettings) -> None:
        limits = {"max_workers": 3, "lease_s": 3.0, "budget_per_hour": self.budget}
        controls = controls.model_copy(update=limits)
        super().__init__(small_world(controls, ["one", "two"]), controls.model_copy(update={"tick_s": 1.0}))

    @rule(number=numbers)
    def a_boot_fails(self, number: int) -> None:
        if (one := self.any_worker(number)) and one.ready_s is None:
            self.world.cloud.die(one)

    @rule(number=numbers)
    def a_machine_is_taken_away(self, number: int) -> None:
        one = self.any_worker(number)
        if one and one.ready_s is not None and one.state is not WorkerState.DRAINED:
            self.world.beat(one, leaving="a spot notice")
            self.world.cloud.interrupt(one)

    @rule(seconds=st.integers(1, 20), call=st.sampled_from(CALLS), lost=st.booleans())
    def a_part_does_not_answer(self, seconds: int, call: str, lost: bool) -> None:
        faults = self.world.faults
        (faults.lost_answers if lost else faults.broken).add(call)
        self.time_passes(seconds)
        faults.mend()

    @rule(room=st.sampled_from([0, 1, None]), listed=st.booleans(), sold_out=st.sets(st.sampled_from(MENU)))
    def the_cloud_changes(self, room: int | None, listed: bool, sold_out: set[Offering]) -> None:
        cloud = self.world.cloud
        cloud.weather = CALM if listed else replace(CALM, list_lag_s=0.5)
        cloud.market.room, cloud.market.sold_out = room, sold_out

    def teardown(self) -> None:
        """Left alone, the fleet works everything off and goes away."""
        world = self.world
        self.the_cloud_changes(None, True, set())
        self.settle(3_000)
        assert not world.cloud.outstanding, "work waits: a worker must come"
        assert not world.cloud.present, "nothing waits: all workers must go"
        assert all(beat.state is not WorkerState.BUSY for beat in world.roster.workers())


class RoughWeather(_Fleet):
    def __init__(self, seed: int = 1) -> None:
        stage = build_scenario(config.load({}).controller, SPEC, ROUGH, max_workers=4, tick_s=5.0)
        controls = stage.settings.model_copy(update={"budget_per_hour": self.budget})
        super().__init__(World(controls, ["p"], SPEC, ROUGH, seed, direct=True), controls)
        self.watches = Stopwatches(controls)

    @rule(calm=st.booleans())
    def the_weather_changes(self, calm: bool) -> None:
        self.world.cloud.weather = CALM if calm else ROUGH

    @rule()
    def the_machine_sleeps(self) -> None:
        super().the_machine_sleeps()
        self.watches.reset()

    @rule(call=st.sampled_from(READINGS), ticks=st.integers(1, 6))
    def a_reading_fails_and_nothing_is_taken_from_the_fleet(self, call: str, ticks: int) -> None:
        self.world.faults.broken.add(call)
        for _ in range(ticks):
            self.world.step(self.tick_s)
            before = len(self.world.faults.calls)
            self.tick_all()
            assert not {"request_drain", "terminate"} & self.verbs_since(before), (
                "a failed reading never reduces the fleet"
            )
        self.world.faults.mend()

    @rule(call=st.sampled_from(CHANGES), ticks=st.integers(1, 6))
    def a_change_fails(self, call: str, ticks: int) -> None:
        self.world.faults.broken.add(call)
        self.time_passes(ticks)
        self.world.faults.mend()

    @rule()
    def a_dry_run_looks_on(self) -> None:
        onlooker: Controller = self.world.controller(dry_run=True)
        before = len(self.world.faults.calls)
        onlooker.tick()
        assert not set(CHANGES) & self.verbs_since(before), "a dry run changes nothing"

    def verbs_since(self, before: int) -> set[str]:
        return {call.split()[0] for call in self.world.faults.calls[before:]}

    def tick_all(self, skip: int = 0) -> tuple[bool, str | None, Plan | None]:
        faults, room = self.world.faults, self.room
        failed, made = faults.failed, len(faults.calls)
        crashed, leader, plan = super().tick_all(skip)
        self.watches.tick(
            self.world,
            leader,
            plan.pools[0].terms if plan else None,
            hindered=skip > 0 or crashed or faults.failed > failed,
            may_launch=room and "launch" not in self.verbs_since(made),
            unknown=self.unknown(),
        )
        return crashed, leader, plan

    @property
    def room(self) -> bool:
        """Another instance is to be had, within the cap and the budget."""
        prices = [one.price for one in self.world.cloud.market.offerings()]
        return len(self.world.cloud.present) < self.cap and any(self.spend + price <= self.budget for price in prices)

    def unknown(self) -> list[str]:
        """Instances that run, are listed, and are neither in the ledger nor of a launch in it."""
        now, ledger = self.world.now, self.ledger
        tokens, known = {one["token"] for one in ledger.get("intents", [])}, set(ledger.get("known", []))
        running = [one for one in self.world.cloud.workers.values() if one.alive and one.listed_at <= now]
        return [one.id for one in running if one.id not in known and one.instance.token not in tokens]

    def teardown(self) -> None:
        """Left alone, everything is worked off, every instance goes, and a new image finds a worker in time."""
        cloud, queue = self.world.cloud, self.world.queue
        self.settle(1_500)
        assert not queue.outstanding, "work waits: a worker must come"
        assert not cloud.billed, "nothing waits: all workers must go"
        self.the_weather_changes(calm=True)
        self.time_passes(1)
        self.world.send(1)
        self.settle(1_500)
        assert cloud.totals.done + queue.dead == queue.sent


def test_whatever_happens_to_two_pools(controls: ControllerSettings) -> None:
    steps = hypothesis(max_examples=40, stateful_step_count=25, deadline=None)
    run_state_machine_as_test(partial(TwoPools, controls), settings=steps)


def test_whatever_happens_in_rough_weather() -> None:
    steps = hypothesis(max_examples=30, stateful_step_count=25, deadline=None)
    run_state_machine_as_test(RoughWeather, settings=steps)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_whatever_happens_for_200_000_steps() -> None:
    long = hypothesis(max_examples=2_000, stateful_step_count=100, deadline=None)
    run_state_machine_as_test(RoughWeather, settings=long)
