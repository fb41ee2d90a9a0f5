from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis
from hypothesis import strategies as st

from controller.policy.estimates import estimate_arrival_rate, estimate_boot_s, estimate_throughput, update_estimates
from controller.state.model import Policy, PoolDelta, PoolMemory, PoolView
from core.storage.ports import Depth
from tests.unit.controller.policy.test_policy import POLICY


def see(
    memory: PoolMemory, news: PoolDelta, policy: Policy = POLICY, *, waiting: int = 1, elapsed_s: float = 1.0
) -> PoolMemory:
    return update_estimates(PoolView("p", Depth(waiting, 0, 0, 0, 0.0), (), news), memory, elapsed_s, policy)


def test_one_odd_sample_changes_nothing() -> None:
    memory = see(PoolMemory(), PoolDelta(throughputs=(0.01,), boots=(0.5,)))
    assert estimate_throughput(memory, POLICY) == 20.0
    assert estimate_boot_s(memory, POLICY) == 3.0
    memory = see(PoolMemory(), PoolDelta(throughputs=(10.0, 11.0, 900.0, 12.0, 0.1)))
    assert estimate_throughput(memory, POLICY) == 11.0


def test_the_boot_time_is_the_90th_percentile() -> None:
    memory = see(PoolMemory(), PoolDelta(boots=tuple(float(number) for number in range(1, 21))))
    assert estimate_boot_s(memory, POLICY) == 18.0


def test_old_samples_are_forgotten() -> None:
    memory = see(PoolMemory(), PoolDelta(throughputs=(5.0,) * 99, boots=(9.0,) * 99))
    memory = see(memory, PoolDelta(throughputs=(50.0,) * 15, boots=(1.0,) * 20))
    assert (estimate_throughput(memory, POLICY), estimate_boot_s(memory, POLICY)) == (50.0, 1.0)


def test_a_steady_flow_is_learned() -> None:
    memory = PoolMemory()
    for _ in range(300):
        memory = see(memory, PoolDelta(arrived=12.0))
    assert estimate_arrival_rate(memory, 3.0) == pytest.approx(12.0, rel=0.01)


def test_what_has_not_come_for_a_boot_time_is_no_flow() -> None:
    memory = PoolMemory(arrivals=(5.0, 5.0), lately=5.0)
    for second in range(6):
        memory = see(memory, PoolDelta(), waiting=0)
        assert (estimate_arrival_rate(memory, 3.0) > 0) is (second < 3)
    assert estimate_arrival_rate(see(memory, PoolDelta(handled=1)), 3.0) > 0


@hypothesis(deadline=None)
@given(st.integers(1, 100_000), st.floats(0.05, 5.0))
def test_a_burst_that_is_cleared_on_time_is_not_asked_for_twice(images: int, tick_s: float) -> None:
    """Within 2 % at ρ = 0.8, and a tick's worth of granularity."""
    goal, memory, time = POLICY.drain_goal_s, PoolMemory(), 0.0
    alone = images / goal
    memory = see(memory, PoolDelta(arrived=float(images)), elapsed_s=tick_s)
    while time < goal:
        flow = estimate_arrival_rate(memory, 3.0) / POLICY.utilisation
        assert flow + alone * (1 - time / goal) <= alone * (1.02 + 1.25 * tick_s / goal)
        memory = see(memory, PoolDelta(), elapsed_s=tick_s)
        time += tick_s


@given(st.lists(st.tuples(st.floats(0, 1e4), st.floats(-1e6, 1e6)), max_size=20))
def test_rates_stay_finite(steps: list[tuple[float, float]]) -> None:
    memory = PoolMemory()
    for elapsed_s, arrived in steps:
        memory = see(memory, PoolDelta(arrived=arrived), elapsed_s=elapsed_s)
    assert 0 <= estimate_arrival_rate(memory, 3.0) < 1e12
