"""The simulator itself: what it promises of every run, and runs whose outcome can be told by hand."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from config import settings as config
from controller.policy.policy import compute_terms, decide
from controller.simulation.baselines import BASELINES, baseline
from controller.simulation.compare import POLICIES, policy_named
from controller.simulation.run import SimulatedRun, simulate
from controller.simulation.scenario import ROUGH, USUAL, Scenario, WorkerSpec, build_scenario
from controller.simulation.traces import Trace
from controller.state.model import Policy, PoolMemory, PoolView, Stage, Worker
from core.storage.ports import Depth
from tests.unit.controller.policy.test_policy import POLICY
from tests.unit.controller.simulation.conftest import SPEC

BATCH = Trace("batch", 120.0, ((10.0, 100),))


def ours(trace: Trace, stage: Scenario, seed: int = 1) -> SimulatedRun:
    return simulate(trace, "tagfleet", decide, stage, seed)


@given(
    st.lists(st.tuples(st.floats(0, 300), st.integers(1, 80)), max_size=8),
    st.integers(0, 99),
    st.sampled_from(POLICIES),
)
@hypothesis(max_examples=15, deadline=None)
def test_no_image_is_lost_or_doubled_in_any_weather_under_any_policy(
    arrivals: list[tuple[float, int]], seed: int, policy: str
) -> None:
    stage = build_scenario(config.load({}).controller, SPEC, ROUGH, max_workers=6)
    run = simulate(Trace("any", 300.0, tuple(sorted(arrivals))), policy, policy_named(policy), stage, seed)
    assert run.sent == sum(count for _, count in arrivals)
    assert run.done + run.dead + run.left == run.sent
    assert sum(count for _, count in run.waits) == run.done
    assert max((moment.billed for moment in run.snapshots), default=0) <= 6
    assert run.ended_busy == 0
    assert all(wait >= 0 for wait, _ in run.waits)


@pytest.mark.parametrize("policy", POLICIES)
def test_the_same_seed_gives_the_same_run_and_another_seed_another_one(stage: Scenario, policy: str) -> None:
    stage = replace(stage, weather=USUAL)
    one, two, other = (simulate(BATCH, policy, policy_named(policy), stage, seed) for seed in (1, 1, 2))
    assert (one.cost, one.waits, one.snapshots) == (two.cost, two.waits, two.snapshots)
    assert one.waits != other.waits


def test_a_batch_by_hand(stage: Scenario) -> None:
    """100 images at 10 s; seen at the tick of 10 s, one worker is up 10 s later and does 4 a second."""
    run = ours(BATCH, stage)
    assert run.launched == 1
    assert [wait for wait, _ in run.waits] == [pytest.approx(10.0 + second) for second in range(1, 26)]
    assert run.cost == pytest.approx(60 / 3600 * 0.36), "a minute at least"


def test_work_beyond_the_goal_is_shared_and_done_in_time(stage: Scenario) -> None:
    """5,000 images, 120 s of drain goal: 11 would be needed, the cap is 6, which take 5,000 / 24 s."""
    run = ours(Trace("large", 300.0, ((10.0, 5_000),)), stage)
    assert run.launched == 6
    assert max(wait for wait, _ in run.waits) == pytest.approx(10.0 + 5_000 / 24, abs=1.0)


def test_arrivals_one_by_one_wait_as_in_a_queue_with_one_server(stage: Scenario) -> None:
    """Less work than one worker does: each image waits for its own service time only, once a worker is there."""
    trace = Trace("thin", 600.0, tuple((float(second), 1) for second in range(600)))
    waits = sorted(wait for wait, _ in ours(trace, stage).waits)
    assert waits[len(waits) // 2] == pytest.approx(1 / 4)


def test_a_poisson_stream_waits_as_pollaczek_and_khinchin_have_it(stage: Scenario) -> None:
    """M/D/1 at ρ = 0.5: the mean time in the system is s·(1 + ρ/(2·(1 − ρ))) = 1.5 s."""
    chance, at, arrivals = random.Random(5), 0.0, []
    while at < 3_000:
        at += chance.expovariate(2.0)
        arrivals.append((at, 1))
    single = replace(stage, worker=replace(stage.worker, batch=1))
    controls = single.settings.model_copy(update={"max_workers": 1, "idle_keep_s": 900.0})
    run = ours(Trace("poisson", 3_000.0, tuple(arrivals)), replace(single, settings=controls))
    late = [wait for wait, _ in run.waits[1_000:]]
    assert sum(late) / len(late) == pytest.approx(1.5 / 4, rel=0.1)


@hypothesis(deadline=None)
@given(st.integers(0, 5_000), st.integers(0, 5_000), st.integers(0, 20))
def test_more_backlog_never_wants_fewer_workers(one: int, more: int, ready: int) -> None:
    def wanted(visible: int, policy: Policy = POLICY) -> int:
        crew = tuple(Worker(str(number), Stage.BUSY) for number in range(ready))
        return compute_terms(PoolView("p", Depth(visible, 0, 0, 0, 0.0), crew), PoolMemory(), ready, policy).wanted

    assert wanted(one + more) >= wanted(one)


@given(st.integers(1, 12))
@hypothesis(max_examples=4, deadline=None)
def test_a_larger_cap_is_never_slower_in_calm_weather(cap: int) -> None:
    stage = build_scenario(config.load({}).controller, SPEC, max_workers=cap)
    larger = replace(stage, settings=stage.settings.model_copy(update={"max_workers": cap + 1}))
    trace = Trace("large", 120.0, ((10.0, 3_000),))
    calm, calmer = (ours(trace, replace(each, weather=replace(USUAL, work_spread=0.0))) for each in (stage, larger))
    assert max(wait for wait, _ in calmer.waits) <= max(wait for wait, _ in calm.waits) + 15.0


def test_interruptions_and_deaths_cost_time_but_no_image(stage: Scenario) -> None:
    rough = replace(stage, weather=replace(ROUGH, death_s=120.0, interruption_s=300.0, hang_s=300.0))
    run = ours(Trace("large", 600.0, ((10.0, 3_000),)), rough)
    assert run.done + run.dead == 3_000
    assert run.left == 0
    assert run.launched > 6


@pytest.mark.parametrize("name", BASELINES)
def test_baselines_start_from_zero_work_everything_off_and_go_to_zero(stage: Scenario, name: str) -> None:
    run = simulate(BATCH, name, baseline(name), stage, 1)
    assert run.done == 100
    assert run.snapshots[-1].at < 1_800


def test_the_replaced_rule_starts_a_worker_for_each_message(stage: Scenario) -> None:
    wide = replace(stage, settings=stage.settings.model_copy(update={"max_workers": 20}))
    run = simulate(Trace("old", 60.0, ((1.0, 30),)), "per-message", baseline("per-message"), wide, 1)
    assert run.launched == 15


def test_a_machine_of_no_weather_boots_in_exactly_its_time(stage: Scenario) -> None:
    assert ours(BATCH, stage).boot_s == pytest.approx(WorkerSpec(boot_s=10.0).boot_s)
