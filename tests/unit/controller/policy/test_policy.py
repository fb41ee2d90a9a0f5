"""The policy: single decisions by rule and terms, and what holds for every decision."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from controller.events.render import sentence
from controller.policy.policy import decide
from controller.state.model import Observation, Plan, Policy, PoolDelta, PoolMemory, PoolView, Stage, Worker
from core.fleet.decisions import Decision, Rule
from core.storage.ports import Depth, Offering

POLICY = Policy(
    max_workers=4,
    drain_goal_s=30.0,
    utilisation=0.8,
    linger_s=30.0,
    stabilisation_s=15.0,
    boot_prior_s=3.0,
    throughput_prior=20.0,
    boot_deadline_s=120.0,
    lost_after_s=15.0,
    drain_deadline_s=60.0,
    breaker_failures=3,
    breaker_reset_s=60.0,
)
SETTLED = PoolMemory(below_s=100.0)
SPOT, ON_DEMAND = Offering("g4dn.xlarge", "a", "spot", 0.16), Offering("g4dn.xlarge", "a", "on-demand", 0.526)


def view(*workers: Worker, pool: str = "p", visible: int = 0, in_flight: int = 0, **more: PoolDelta | str) -> PoolView:
    return PoolView(pool, Depth(visible, in_flight, 0, 0, 0.0), workers, **more)  # type: ignore[arg-type]


def one(
    looked: PoolView, memory: PoolMemory | None = None, policy: Policy = POLICY, elapsed_s: float = 1.0
) -> Decision:
    plan, _ = decide(Observation(elapsed_s, (looked,)), {looked.pool: memory or PoolMemory()}, policy)
    return plan.pools[0]


def idle(id: str, seconds: float = 0.0) -> Worker:
    return Worker(id, Stage.IDLE, age_s=100.0, stage_s=seconds)


def busy(id: str, held: int = 8) -> Worker:
    return Worker(id, Stage.BUSY, age_s=100.0, held=held)


def booting(id: str, age_s: float = 0.0) -> Worker:
    return Worker(id, Stage.BOOTING, age_s=age_s)


# --- growing ----------------------------------------------------------------------------------


def test_at_rest() -> None:
    plan = one(view())
    assert (plan.rule, plan.action, plan.terms.draining) == (Rule.REST, "hold", 0)


def test_from_zero_one_image_is_enough() -> None:
    plan = one(view(visible=1))
    assert (plan.rule, plan.action, plan.terms.waiting) == (Rule.LAUNCH, "launch 1", 1)


def test_work_in_flight_that_nobody_holds_calls_for_a_worker() -> None:
    plan = one(view(in_flight=8))
    assert plan.terms.orphaned == 8
    assert plan.launch == 1


def test_nothing_is_launched_that_could_not_help() -> None:
    plan = one(view(booting("a", 1.0), visible=2))
    assert (plan.rule, plan.action) == (Rule.ENOUGH, "hold")
    assert (plan.terms.waiting, plan.terms.coming, plan.terms.ready) == (2, 1, 0)


def test_a_backlog_beyond_the_goal() -> None:
    plan = one(view(busy("a"), visible=1_200, in_flight=8))
    assert plan.terms.backlog == 1_200 - 20 * 3
    assert (plan.rule, plan.action) == (Rule.LAUNCH, "launch 1")
    assert plan.terms.waiting / (plan.terms.throughput * plan.terms.supply) == 60 > plan.terms.drain_goal_s == 30


def test_the_formula_by_hand() -> None:
    memory = PoolMemory(throughputs=(10.0,) * 3, boots=(4.0,) * 3, arrivals=(8.0, 8.0), lately=8.0)
    looked = view(busy("a", 3), idle("b"), booting("c", 1.0), booting("d", 9.0), visible=800, in_flight=20)
    terms = one(looked, memory, elapsed_s=0.0).terms
    assert terms.orphaned == 17
    assert terms.head_start_s == 1 + 4
    assert terms.backlog == pytest.approx(800 + 17 + 8 * 4 - 10 * (2 * 4 + 5))
    assert terms.wanted == 4  # ceil(8/(0.8·10) + 719/(10·30)) = ceil(1 + 2.4)


def test_the_cap_is_named() -> None:
    plan = one(view(busy("a"), visible=9_000, in_flight=8), policy=replace(POLICY, max_workers=1))
    assert plan.action == "hold"
    assert plan.rule is Rule.CAP
    assert (plan.terms.wanted, plan.terms.granted, plan.terms.own) == (15, 1, 1)
    assert (plan.terms.cap, plan.terms.cap_source) == (1, "settings")


def test_draining_ones_are_no_capacity_but_are_billed() -> None:
    leaving = Worker("a", Stage.DRAINING, stage_s=1.0)
    plan = one(view(leaving, visible=5), policy=replace(POLICY, max_workers=1))
    assert plan.launch == 0
    assert plan.rule is Rule.CAP
    assert one(view(leaving, visible=5), policy=replace(POLICY, max_workers=2)).launch == 1


def test_lost_and_overdue_ones_are_ended_and_replaced() -> None:
    plan = one(view(Worker("a", Stage.LOST), Worker("b", Stage.DRAINING, stage_s=60.0), visible=5))
    assert (plan.rule, plan.action, plan.terminate) == (Rule.LAUNCH, "launch 1, end 2", ("a", "b"))
    assert plan.details.ended == ("lost", "draining")


# --- what can be had, and what it costs -------------------------------------------------------


def priced(looked: PoolView, *offerings: Offering) -> PoolView:
    workers = tuple(replace(worker, price=SPOT.price) for worker in looked.workers)
    return replace(looked, workers=workers, offerings=offerings)


@pytest.mark.parametrize(
    ("budget", "offerings", "launch"),
    [
        (0.0, "SPOT ON_DEMAND", 4),
        (0.50, "SPOT ON_DEMAND", 3),
        (0.50, "ON_DEMAND", 0),
        (0.55, "ON_DEMAND", 1),
        (0.40, "ON_DEMAND SPOT", 2),
        (0.10, "SPOT", 0),
    ],
)
def test_the_budget_limits_a_launch_to_what_it_pays_for(budget: float, offerings: str, launch: int) -> None:
    policy = replace(POLICY, budget_per_hour=budget)
    menu = [{"SPOT": SPOT, "ON_DEMAND": ON_DEMAND}[name] for name in offerings.split()]
    plan = one(priced(view(visible=9_000), *menu), policy=policy)
    assert plan.launch == launch
    assert plan.rule is (Rule.LAUNCH if launch else Rule.BUDGET)


def test_the_budget_is_named_with_what_is_spent() -> None:
    plan = one(priced(view(busy("a"), visible=9_000, in_flight=8), SPOT), policy=replace(POLICY, budget_per_hour=0.3))
    assert (plan.rule, plan.action, plan.terms.wanted) == (Rule.BUDGET, "hold", 15)
    assert (plan.terms.spend_per_hour, plan.terms.price_per_hour, plan.terms.budget_per_hour) == (0.16, 0.16, 0.3)


def test_a_budget_that_was_lowered_lets_workers_go() -> None:
    looked = priced(view(busy("a"), busy("b"), idle("c"), visible=9_000, in_flight=16), SPOT)
    plan = one(looked, policy=replace(POLICY, budget_per_hour=0.35))
    assert (plan.rule, plan.drain) == (Rule.MAKE_ROOM, ("c",))
    assert plan.terms.over_budget
    assert plan.terms.spend_per_hour == pytest.approx(0.48)


def test_a_lowered_budget_lets_workers_go_while_nothing_is_on_offer_too() -> None:
    looked = replace(priced(view(*map(busy, "abc"), visible=900, in_flight=24), SPOT), offerings=())
    plan = one(looked, policy=replace(POLICY, budget_per_hour=0.35))
    assert (plan.rule, plan.action) == (Rule.MAKE_ROOM, "drain 1")
    assert plan.terms.over_budget


def test_a_cap_of_nothing_lets_busy_ones_go_though_one_that_was_started_by_hand_would_do() -> None:
    helper = replace(idle("h"), ours=False)
    plan = one(view(busy("a"), helper, visible=3, in_flight=8), policy=replace(POLICY, max_workers=0))
    assert plan.drain == ("a",)
    assert plan.rule is Rule.MAKE_ROOM


def test_pools_that_share_too_small_a_budget_make_room_for_each_other() -> None:
    rich = priced(view(idle("a"), idle("b"), pool="rich", visible=9_000), SPOT)
    poor = priced(view(pool="poor", visible=10), SPOT)
    plan, _ = decide(Observation(1.0, (poor, rich)), {}, replace(POLICY, budget_per_hour=0.35))
    assert [pool.action for pool in plan.pools] == ["hold", "drain 1"]
    assert plan.pools[1].rule is Rule.MAKE_ROOM
    assert plan.pools[1].terms.budget_per_hour == 0.35
    assert not plan.pools[1].terms.over_budget


def test_without_capacity_anywhere_nothing_is_launched_and_no_other_pool_is_drained_for_it() -> None:
    short = replace(view(visible=50, pool="short"), offerings=())
    plan, _ = decide(
        Observation(1.0, (short, view(idle("a"), pool="other", visible=50))), {}, replace(POLICY, max_workers=1)
    )
    assert [pool.action for pool in plan.pools] == ["hold", "hold"]
    assert plan.pools[0].rule is Rule.NO_CAPACITY


def test_an_interrupted_worker_is_no_capacity_and_is_replaced_at_once() -> None:
    taken = Worker("a", Stage.INTERRUPTED, age_s=100.0, held=8)
    plan = one(view(taken, visible=5, in_flight=8))
    assert plan.launch == 1
    assert plan.terms.orphaned == 0, "it still finishes what it holds"
    assert one(view(replace(taken, stage_s=60.0))).terminate == ("a",)


def test_an_orphan_is_neither_capacity_nor_spared_for_long() -> None:
    orphan = Worker("a", Stage.ORPHAN, stage_s=14.0)
    assert one(view(orphan, visible=5)).action == "launch 1"
    plan = one(view(replace(orphan, stage_s=15.0)))
    assert plan.terminate == ("a",)
    assert plan.details.ended == ("orphan",)


def test_a_launch_that_is_refused_for_good_opens_the_breaker_and_says_what_to_mend() -> None:
    refused = PoolDelta(
        failures=1, refused="the launch template tagfleet-p is gone: run `tagfleet aws up`", lasting=True
    )
    plan = one(view(visible=5, delta=refused))
    assert (plan.rule, plan.action, plan.terms.retry_in_s) == (Rule.BREAKER, "hold", 60.0)
    assert plan.details.refused == refused.refused


# --- shrinking --------------------------------------------------------------------------------


def test_shrinks_only_after_the_target_stayed_below_for_the_window() -> None:
    memory: dict[str, PoolMemory] = {}
    looked = view(idle("a", 500.0))
    for second in range(17):
        plan, after = decide(Observation(1.0, (looked,)), memory, POLICY)
        memory = dict(after)
        assert bool(plan.pools[0].drain) is (second >= 15)


def test_a_window_that_was_interrupted_starts_anew() -> None:
    memory: dict[str, PoolMemory] = {"p": SETTLED}
    _, after = decide(Observation(1.0, (view(idle("a", 500.0), visible=1),)), memory, POLICY)
    plan, _ = decide(Observation(1.0, (view(idle("a", 500.0)),)), after, POLICY)
    assert plan.pools[0].rule is Rule.SETTLING


def test_an_idle_worker_lingers() -> None:
    assert one(view(idle("a", 29.0)), PoolMemory(below_s=28.0)).rule is Rule.LINGER
    plan = one(view(idle("a", 30.0)), SETTLED)
    assert (plan.rule, plan.drain, plan.details.idle_s) == (Rule.SCALE_IN, ("a",), 30.0)


def test_a_worker_that_is_usually_wanted_again_soon_is_kept_until_then() -> None:
    often = PoolMemory(boots=(90.0,) * 3, idle_gaps=((48.0, 1),) * 3)
    assert one(view(idle("a", 59.0)), replace(often, below_s=58.0)).rule is Rule.LINGER
    assert one(view(idle("a", 60.0)), replace(often, below_s=59.0)).drain == ("a",)


def test_a_surplus_goes_though_its_messages_visit_all_workers_in_turn() -> None:
    looked = view(idle("a", 2.0), idle("b", 1.0), idle("c", 3.0), busy("d"), in_flight=8)
    assert one(looked, SETTLED).drain == ("c", "a", "b")
    lately_three = replace(SETTLED, demand_history=((0.0, 1), (20.0, 3)))
    assert one(looked, lately_three).drain == ("c",)


def test_the_longest_idle_goes_first_and_a_busy_one_never() -> None:
    looked = view(idle("a", 40.0), idle("b", 50.0), busy("c"), in_flight=8)
    assert one(looked, SETTLED).drain == ("b", "a")
    plan = one(view(busy("a"), busy("b"), idle("c", 50.0), in_flight=16), SETTLED)
    assert plan.drain == ("c",)


def test_a_lowered_cap_drains_at_once_and_busy_ones_only_where_no_idle_one_is_left() -> None:
    workers = (idle("a"), busy("b", 9), busy("c", 2))
    looked = view(*workers, visible=500, in_flight=11)
    assert one(looked, policy=replace(POLICY, max_workers=2)).drain == ("a",)
    plan = one(looked, policy=replace(POLICY, max_workers=1))
    assert (plan.rule, plan.drain) == (Rule.MAKE_ROOM, ("a", "c"))
    assert (plan.terms.billable, plan.terms.cap) == (3, 1)


def test_a_reading_that_failed_changes_nothing() -> None:
    plan = one(view(idle("a", 500.0), Worker("b", Stage.LOST), visible=500, unread="the queue cannot be read"), SETTLED)
    assert (plan.rule, plan.action) == (Rule.UNREAD, "hold")
    assert plan.details.because == "the queue cannot be read"


# --- several pools ----------------------------------------------------------------------------


def test_too_small_a_cap_is_shared_evenly_and_what_one_does_not_need_goes_to_the_others() -> None:
    pools = (
        view(pool="a", visible=9_000),
        view(pool="b", visible=9_000),
        view(pool="c", visible=1),
    )
    plan, _ = decide(Observation(1.0, pools), {}, replace(POLICY, max_workers=8))
    assert [each.terms.granted for each in plan.pools] == [4, 3, 1]
    assert [each.launch for each in plan.pools] == [4, 3, 1]


def test_an_idle_worker_makes_room_for_another_pool_without_lingering() -> None:
    pools = (view(idle("x", 1.0), pool="a"), view(pool="b", visible=5))
    plan, _ = decide(Observation(1.0, pools), {}, replace(POLICY, max_workers=1))
    assert (plan.pools[0].rule, plan.pools[0].action, plan.pools[0].terms.cap) == (Rule.MAKE_ROOM, "drain 1", 1)
    assert plan.pools[1].rule is Rule.CAP


def test_pools_that_share_one_worker_take_turns() -> None:
    policy = replace(POLICY, max_workers=1)
    pools = (view(busy("x"), pool="a", visible=900, in_flight=8), view(pool="b", visible=5))
    memory: dict[str, PoolMemory] = {}
    for second in range(31):
        plan, after = decide(Observation(1.0, pools), memory, policy)
        memory = dict(after)
        assert bool(plan.pools[0].drain) is (second == 30), "after the drain goal"
    left = (view(pool="a", visible=900), view(pool="b", visible=5))
    plan, _ = decide(Observation(1.0, left), memory, policy)
    assert [each.launch for each in plan.pools] == [0, 1]


def test_a_pool_whose_workers_do_not_boot_takes_no_room_from_the_others() -> None:
    broken = PoolMemory(failures=3, retry_in_s=50.0, starved_s=900.0)
    pools = (view(busy("x"), pool="a", visible=900, in_flight=8), view(pool="b", visible=5))
    plan, _ = decide(Observation(1.0, pools), {"b": broken}, replace(POLICY, max_workers=1))
    assert plan.pools[0].action == "hold"
    assert plan.pools[1].rule is Rule.BREAKER


# --- boot failures ----------------------------------------------------------------------------


def test_the_breaker_opens_waits_tries_one_and_closes() -> None:
    memory: dict[str, PoolMemory] = {}
    failed = PoolDelta(failures=3, notice="the weights are damaged")
    plan, after = decide(Observation(1.0, (view(visible=900, delta=failed),)), memory, POLICY)
    opened = plan.pools[0]
    assert (opened.rule, opened.action, opened.terms.failures, opened.terms.retry_in_s) == (Rule.BREAKER, "hold", 3, 60)
    assert (opened.details.notice, opened.details.broken) == ("the weights are damaged", False)
    plan, after = decide(Observation(60.0, (view(visible=900),)), after, POLICY)
    assert plan.pools[0].action == "launch 1"
    plan, after = decide(Observation(1.0, (view(booting("a"), visible=900),)), after, POLICY)
    assert plan.pools[0].rule is Rule.TRIAL
    assert plan.pools[0].launch == 0
    plan, after = decide(
        Observation(1.0, (view(idle("a"), visible=900, delta=PoolDelta(boots=(2.0,))),)), after, POLICY
    )
    assert plan.pools[0].launch == 1
    assert after["p"].failures == 0


def test_workers_that_break_at_work_are_no_good_though_they_boot() -> None:
    broken = PoolDelta(boots=(2.0,), broken=1, notice="RuntimeError: out of memory")
    memory: Mapping[str, PoolMemory] = {"p": PoolMemory(failures=2, broken=2)}
    plan, memory = decide(Observation(1.0, (view(visible=900, delta=broken),)), memory, POLICY)
    opened = plan.pools[0]
    assert (opened.rule, opened.action, opened.terms.failures, opened.terms.retry_in_s) == (Rule.BREAKER, "hold", 3, 60)
    assert (opened.details.notice, opened.details.broken) == ("RuntimeError: out of memory", True)
    ready = view(idle("a"), visible=900, delta=PoolDelta(boots=(2.0,)))
    plan, memory = decide(Observation(60.0, (ready,)), memory, POLICY)
    assert (plan.pools[0].rule, plan.pools[0].launch) == (Rule.TRIAL, 0), "it has not shown yet what it is good for"
    plan, memory = decide(Observation(1.0, (replace(ready, delta=PoolDelta(handled=1)),)), memory, POLICY)
    assert plan.pools[0].launch > 0
    assert (memory["p"].failures, memory["p"].broken) == (0, 0)


# --- what holds always ------------------------------------------------------------------------

stages = st.sampled_from([stage for stage in Stage if stage is not Stage.GONE])
seconds = st.floats(0, 200)
workers = st.builds(
    Worker, st.just(""), stages, seconds, seconds, st.integers(0, 64), st.sampled_from([True] * 5 + [False])
)
news = st.builds(
    PoolDelta,
    arrived=st.integers(-50, 500).map(float),
    handled=st.integers(0, 100),
    throughputs=st.lists(st.floats(0.1, 100), max_size=2).map(tuple),
    boots=st.lists(st.floats(0.1, 100), max_size=2).map(tuple),
    failures=st.integers(0, 2),
    broken=st.integers(0, 1),
)
depths = st.builds(
    Depth, st.integers(0, 5_000), st.integers(0, 300), st.integers(0, 9), st.integers(0, 9), st.just(0.0)
)
lasting = st.none() | seconds
memories = st.builds(
    PoolMemory,
    throughputs=st.lists(st.floats(0.1, 100), max_size=4).map(tuple),
    boots=st.lists(st.floats(0.1, 100), max_size=4).map(tuple),
    arrivals=st.tuples(st.floats(-5, 50), st.floats(-5, 50)),
    quiet_s=seconds,
    below_s=lasting,
    starved_s=lasting,
    failures=st.integers(0, 4),
    broken=st.integers(0, 2),
    retry_in_s=st.floats(0, 60),
)
caps = st.integers(0, 12)


@st.composite
def worlds(draw: st.DrawFn, pools: int = 3) -> tuple[Observation, dict[str, PoolMemory], Policy]:
    names = ["a", "b", "c"][: draw(st.integers(1, pools))]
    views, memory = [], {}
    for name in names:
        crew = draw(st.lists(workers, max_size=6))
        crew = [replace(worker, id=f"{name}{number}") for number, worker in enumerate(crew)]
        unread = draw(st.sampled_from(["", "", "", "its queue cannot be read"]))
        views.append(PoolView(name, draw(depths), tuple(crew), draw(news), unread))
        memory[name] = draw(memories)
    return Observation(draw(st.floats(0, 10)), tuple(views)), memory, replace(POLICY, max_workers=draw(caps))


@st.composite
def priced_worlds(draw: st.DrawFn) -> tuple[Observation, dict[str, PoolMemory], Policy]:
    """With a budget, instances that cost something, and offerings that may be all set aside."""
    observation, memory, policy = draw(worlds())
    prices = st.sampled_from([0.0, 0.16, 0.526])
    menus = st.lists(st.sampled_from([SPOT, ON_DEMAND, replace(SPOT, zone="b")]), max_size=3, unique=True).map(tuple)
    views = tuple(
        replace(looked, offerings=draw(menus), workers=tuple(replace(w, price=draw(prices)) for w in looked.workers))
        for looked in observation.pools
    )
    return replace(observation, pools=views), memory, replace(policy, budget_per_hour=draw(st.sampled_from([0.4, 2.0])))


@given(priced_worlds())
def test_launches_stay_within_the_budget_and_the_cap(
    world: tuple[Observation, dict[str, PoolMemory], Policy],
) -> None:
    observation, memory, policy = world
    plan, _ = decide(observation, memory, policy)
    ours = [worker for view in observation.pools for worker in view.workers if worker.ours]
    spend = sum(worker.price for worker in ours)
    more = sum(pool.launch * pool.terms.price_per_hour for pool in plan.pools)
    assert not more or spend + more <= policy.budget_per_hour + 1e-6
    assert sum(pool.launch for pool in plan.pools) <= max(0, policy.max_workers - len(ours))
    for looked, pool in zip(observation.pools, plan.pools, strict=True):
        assert not (pool.launch and (pool.drain or not looked.offerings))
        assert ": " in sentence(pool)


@given(worlds())
def test_launches_stay_within_the_cap(world: tuple[Observation, dict[str, PoolMemory], Policy]) -> None:
    plan, _ = decide(*world)
    billable = sum(worker.ours for view in world[0].pools for worker in view.workers)
    assert all(pool.launch >= 0 for pool in plan.pools)
    assert sum(pool.launch for pool in plan.pools) <= max(0, world[2].max_workers - billable)


@given(worlds())
def test_no_pool_launches_and_drains_at_once(world: tuple[Observation, dict[str, PoolMemory], Policy]) -> None:
    assert not any(pool.launch and pool.drain for pool in decide(*world)[0].pools)


@given(worlds())
def test_a_failed_reading_never_changes_a_pool(world: tuple[Observation, dict[str, PoolMemory], Policy]) -> None:
    plan, _ = decide(*world)
    for looked, pool in zip(world[0].pools, plan.pools, strict=True):
        if looked.unread:
            assert pool.action == "hold"
            assert looked.unread in sentence(pool)


@given(worlds())
def test_whom_it_drains_and_ends(world: tuple[Observation, dict[str, PoolMemory], Policy]) -> None:
    plan, _ = decide(*world)
    for looked, pool in zip(world[0].pools, plan.pools, strict=True):
        crew = {worker.id: worker for worker in looked.workers}
        drained, ended = [crew[id_] for id_ in pool.drain], [crew[id_] for id_ in pool.terminate]
        assert all(worker.ours for worker in drained + ended)
        assert all(worker.stage.ready for worker in drained)
        kept_idle = [w for w in looked.workers if w.ours and w.stage is Stage.IDLE and w.id not in pool.drain]
        if any(worker.stage is Stage.BUSY for worker in drained):
            assert not kept_idle
        idle_drained = [worker.stage_s for worker in drained if worker.stage is Stage.IDLE]
        assert all(worker.stage_s <= min(idle_drained) for worker in kept_idle if idle_drained)
        for worker in ended:
            overdue = worker.stage.leaving and worker.stage_s >= POLICY.drain_deadline_s
            stray = worker.stage is Stage.ORPHAN and worker.stage_s >= POLICY.lost_after_s
            assert overdue or stray or worker.stage in (Stage.DRAINED, Stage.LOST, Stage.BOOT_FAILED)


def test_an_idle_worker_stays_if_another_would_be_launched_in_its_place() -> None:
    """630 images: with the idle worker 570 are left after one boot, enough for one worker; without it 630 are."""
    crew = Worker("new", Stage.REQUESTED), idle("a", 100.0)
    plan = one(view(*crew, visible=630), SETTLED)
    assert (plan.terms.own, plan.terms.wanted) == (2, 1)
    assert (plan.rule, plan.action) == (Rule.LINGER, "hold")
    assert one(view(*crew, visible=600), SETTLED).drain == ("a",)


def world_of(*workers: Worker, max_workers: int, visible: int) -> tuple[Observation, dict[str, PoolMemory], Policy]:
    return (
        Observation(1.0, (view(*workers, visible=visible),)),
        {"p": SETTLED},
        replace(POLICY, max_workers=max_workers),
    )


BY_HAND = Worker("hand", Stage.REQUESTED, ours=False)
REQUESTED = tuple(Worker(f"new{number}", Stage.REQUESTED) for number in range(3))


@given(worlds())
@example(world_of(REQUESTED[0], idle("a", 100.0), max_workers=3, visible=630))
@example(world_of(*REQUESTED, BY_HAND, busy("a", 0), busy("b", 0), max_workers=1, visible=0))
def test_a_plan_applied_makes_the_next_one_a_no_op(world: tuple[Observation, dict[str, PoolMemory], Policy]) -> None:
    observation, memory, policy = world
    plan, after = decide(observation, memory, policy)
    again, _ = decide(Observation(0.0, applied(observation, plan)), after, policy)
    assert [pool.action for pool in again.pools] == ["hold"] * len(plan.pools)


def applied(observation: Observation, plan: Plan) -> tuple[PoolView, ...]:
    views = []
    for looked, pool in zip(observation.pools, plan.pools, strict=True):
        crew = [
            replace(worker, stage=Stage.TERMINATING)
            if worker.id in pool.terminate
            else replace(worker, stage=Stage.DRAINING, stage_s=0.0)
            if worker.id in pool.drain
            else worker
            for worker in looked.workers
        ]
        crew += [Worker(f"new{number}", Stage.REQUESTED) for number in range(pool.launch)]
        views.append(replace(looked, workers=tuple(crew), delta=PoolDelta()))
    return tuple(views)


@given(worlds(), st.integers(0, 5_000))
def test_more_work_never_calls_for_fewer_workers(
    world: tuple[Observation, dict[str, PoolMemory], Policy], extra: int
) -> None:
    observation, memory, policy = world
    first, *others = observation.pools
    more = replace(first, depth=replace(first.depth, visible=first.depth.visible + extra))
    before = decide(observation, memory, policy)[0].pools[0]
    after = decide(Observation(observation.elapsed_s, (more, *others)), memory, policy)[0].pools[0]
    assert after.terms.wanted >= before.terms.wanted
    assert after.terms.granted >= before.terms.granted
    assert len(after.drain) <= len(before.drain)
    if not others:
        assert after.launch >= before.launch


@given(worlds(), caps)
def test_a_larger_cap_never_launches_less(world: tuple[Observation, dict[str, PoolMemory], Policy], extra: int) -> None:
    observation, memory, policy = world
    larger = replace(policy, max_workers=policy.max_workers + extra)
    before, after = decide(observation, memory, policy)[0], decide(observation, memory, larger)[0]
    assert sum(pool.launch for pool in after.pools) >= sum(pool.launch for pool in before.pools)


@given(worlds())
def test_the_same_twice_and_in_any_order_of_the_pools(world: tuple[Observation, dict[str, PoolMemory], Policy]) -> None:
    observation, memory, policy = world
    turned = Observation(observation.elapsed_s, observation.pools[::-1])
    plan, after = decide(observation, memory, policy)
    assert decide(observation, memory, policy) == (plan, after)
    assert decide(turned, memory, policy) == (Plan(plan.pools[::-1]), after)


@given(worlds())
def test_every_plan_says_why_in_one_plain_sentence(world: tuple[Observation, dict[str, PoolMemory], Policy]) -> None:
    for pool in decide(*world)[0].pools:
        assert ": " in sentence(pool)
        assert "\n" not in sentence(pool)
        assert set(pool.stored_terms()) > {"rule", "wanted", "backlog", "arrival_rate", "throughput", "boot_s"}
