"""Workers that are up before the work: by the policy, and through the whole controller."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.schedule import Schedule, schedule
from controller.events.record import record_of
from controller.events.render import explain
from controller.policy.policy import decide
from controller.simulation.world import World
from controller.state.model import Observation, PoolView, Worker
from core.fleet.decisions import Decision, Rule
from core.storage import layout
from tests.unit.controller.policy.test_policy import ON_DEMAND, POLICY, busy, idle, one, priced, view
from tests.unit.controller.test_loop import stopped

MIDNIGHT = 1_700_006_400.0
"""Of a Wednesday."""


def ahead(*workers: Worker, floor: int = 0, foreseen: float = 0.0, visible: int = 0) -> PoolView:
    return replace(view(*workers, visible=visible), floor=floor, foreseen=foreseen)


@pytest.mark.parametrize(
    ("looked", "action", "rule", "takes"),
    [
        (ahead(floor=2), "launch 2", Rule.LAUNCH, 2),
        (ahead(idle("a"), floor=2), "launch 1", Rule.LAUNCH, 2),
        (ahead(idle("a"), floor=1), "hold", Rule.ENOUGH, 1),
        (ahead(foreseen=40.0), "launch 3", Rule.LAUNCH, 3),
        (ahead(floor=9), "launch 4", Rule.LAUNCH, 9),
    ],
)
def test_what_is_ahead_is_launched(looked: PoolView, action: str, rule: Rule, takes: int) -> None:
    plan = one(looked)
    assert (plan.action, plan.rule, plan.terms.ahead, plan.terms.wanted) == (action, rule, takes, takes)


def test_the_larger_of_work_and_what_is_ahead_counts() -> None:
    assert one(ahead(visible=9_000, floor=1)).launch == 4
    assert one(ahead(floor=1, foreseen=40.0)).terms.wanted == 3
    assert one(ahead(floor=4, foreseen=40.0)).terms.wanted == 4


def test_the_cap_and_the_budget_hold() -> None:
    assert one(ahead(floor=9), policy=replace(POLICY, max_workers=0)).action == "hold"
    limited = one(priced(ahead(floor=9), ON_DEMAND), policy=replace(POLICY, budget_per_hour=1.1))
    assert limited.launch == 2


def test_work_goes_before_what_is_only_ahead() -> None:
    early, waiting = replace(view(idle("a"), pool="a"), floor=1), view(pool="b", visible=5)
    plan, _ = decide(Observation(1.0, (early, waiting)), {}, replace(POLICY, max_workers=1))
    assert [pool.action for pool in plan.pools] == ["drain 1", "hold"]
    assert plan.pools[0].rule is Rule.MAKE_ROOM


def told(plan: Decision) -> str:
    return explain([record_of(plan, at=1.0)], now=2.0)


def test_explain_has_both_terms() -> None:
    row = "at least 2 by the schedule, 40.00 images/s came at this time yesterday"
    assert row in told(one(ahead(floor=2, foreseen=40.0)))


@given(
    st.integers(0, 5_000), st.integers(0, 6), st.integers(0, 6), st.floats(0, 200), st.floats(0, 200), st.integers(0, 4)
)
def test_more_ahead_never_wants_fewer_nor_less_than_the_work_alone(
    visible: int, floor: int, more: int, foreseen: float, rise: float, ready: int
) -> None:
    crew = [busy(str(number)) for number in range(ready)]

    def plan(floor: int, foreseen: float) -> Decision:
        return one(ahead(*crew, floor=floor, foreseen=foreseen, visible=visible))

    alone, some, most = plan(0, 0.0), plan(floor, foreseen), plan(floor + more, foreseen + rise)
    assert alone.terms.wanted <= some.terms.wanted <= most.terms.wanted
    assert alone.launch <= some.launch <= most.launch
    assert some.terms.wanted >= floor
    assert most.launch + ready <= POLICY.max_workers


# --- the whole controller ---------------------------------------------------------------------


@pytest.fixture
def morning() -> dict[str, Schedule]:
    return {"resnet50": schedule("wed 08:00-09:00 2")}


def test_workers_are_ready_at_the_hour_and_gone_after_it(world: World, morning: dict[str, Schedule]) -> None:
    opens = MIDNIGHT + 8 * 3_600
    world.now = opens - 6.0
    controller = world.controller(schedules=morning)
    up: dict[float, int] = {}
    while world.now < opens + 20:
        controller.tick()
        world.step()
        up[world.now - opens] = sum(1 for worker in world.cloud.present if worker.ready_s is not None)
    assert len(world.launches) == 1
    assert (up[-2.0], up[0.0]) == (0, 2), "one boot and one tick ahead, and no earlier"
    assert len(world.cloud.present) == 2, "idle workers stay while the schedule asks for them"
    world.now = opens + 3_599.0
    for _ in range(30):
        controller.tick()
        world.step()
    assert not world.cloud.present


def a_day(world: World, first: float) -> None:
    """One controller: an hour of an image a second, then a day of nothing in large steps."""
    controller = world.controller()
    world.now = first
    for _ in range(4 * 61):
        world.send(15)
        controller.tick()
        world.step(15.0)
    while world.cloud.outstanding or world.cloud.present:
        controller.tick()
        world.step()
    controller.run(stopped())
    world.now = first + 86_400.0 - 1_000.0


def test_yesterdays_arrivals_have_workers_up_today_over_a_restart(world: World) -> None:
    world.settings = world.settings.model_copy(update={"forecast": True, "tick_s": 15.0})
    a_day(world, MIDNIGHT)
    assert not world.cloud.present
    writes = [call for call in world.faults.calls if call == f"put {layout.ARRIVALS}"]
    assert len(writes) == 4, "once a slot"
    successor = world.controller()
    plan = successor.tick()
    assert plan is not None
    assert plan.pools[0].terms.foreseen == 0.0
    for _ in range(120):
        plan = successor.tick()
        world.step()
    assert plan is not None
    assert plan.pools[0].terms.foreseen == pytest.approx(1.0, rel=0.1)
    assert len(world.cloud.present) == 1


@pytest.mark.parametrize("broken", ["get fleet/arrivals.json", "put fleet/arrivals.json"])
def test_a_shape_that_cannot_be_read_or_kept_stops_nothing(world: World, broken: str) -> None:
    world.settings = world.settings.model_copy(update={"forecast": True, "tick_s": 15.0})
    world.faults.broken.add(broken)
    a_day(world, MIDNIGHT)
    assert not list(world.objects.list(layout.ARRIVALS))
    world.faults.broken.clear()
    controller = world.controller()
    world.queue.fill(5)
    for _ in range(20):
        controller.tick()
        world.step()
    assert not world.cloud.outstanding


def test_a_shape_of_another_version_is_forgotten(world: World) -> None:
    world.settings = world.settings.model_copy(update={"forecast": True})
    with world.outside():
        world.store.put(layout.ARRIVALS, b'{"resnet50": "strange"}')
    assert world.controller().tick() is not None


def test_nothing_is_kept_where_nobody_foresees(world: World) -> None:
    a_day(world, MIDNIGHT)
    assert not any(layout.ARRIVALS in call for call in world.faults.calls)
