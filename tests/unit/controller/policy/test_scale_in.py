from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.policy.scale_in import Demand, IdleGap, choose_keep_s, find_peak, record_demand


def seen(needs: list[int], tick_s: float = 5.0) -> tuple[tuple[Demand, ...], tuple[IdleGap, ...]]:
    history: tuple[Demand, ...] = ()
    gaps: tuple[IdleGap, ...] = ()
    for needed in needs:
        history, gaps = record_demand(history, gaps, needed, tick_s)
    return history, gaps


def test_the_history_tells_when_so_many_were_needed_last() -> None:
    history, gaps = seen([3, 7, 5, 5, 2])
    assert history == ((0.0, 2), (5.0, 5), (15.0, 7))
    assert gaps == ()
    assert [find_peak(history, within) for within in (1.0, 6.0, 16.0)] == [2, 5, 7]


def test_a_return_tells_how_long_which_workers_were_away() -> None:
    history, gaps = seen([3, 7, 5, 5, 2, 6])
    assert gaps == ((7.5, 3), (17.5, 1)), "three of them since the fourth tick, one since the second"
    assert history == ((0.0, 6), (20.0, 7))


def test_a_worker_is_kept_for_what_would_have_cost_least() -> None:
    assert choose_keep_s(((30.0, 2),), boot_s=60.0) == 0.0, "two returns teach nothing"
    assert choose_keep_s(((30.0, 3),), boot_s=60.0) == pytest.approx(37.5)
    assert choose_keep_s(((180.0, 30),), boot_s=60.0) == 0.0, "a boot is cheaper than three minutes"
    assert choose_keep_s(((10.0, 30), (180.0, 10)), boot_s=60.0) == pytest.approx(12.5)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=200))
def test_the_history_rises_in_age_and_number_and_stays_short(needs: list[int]) -> None:
    history, gaps = seen(needs)
    assert history[0] == (0.0, needs[-1])
    assert list(history) == sorted(history)
    assert [count for _, count in history] == sorted({count for _, count in history})
    assert len(history) <= 40
    assert len(gaps) <= 20
    assert all(gap > 0 and count > 0 for gap, count in gaps)
    assert max(needs) == find_peak(history, 3_601.0)


@given(st.lists(st.tuples(st.floats(1, 1_000), st.integers(1, 20)), max_size=20), st.floats(1, 200))
def test_nobody_is_kept_for_longer_than_two_boots_nor_at_a_loss(gaps: list[IdleGap], boot_s: float) -> None:
    def cost(kept: float) -> float:
        return sum(count * (gap if gap <= kept else kept + boot_s) for gap, count in gaps)

    kept = choose_keep_s(tuple(gaps), boot_s)
    assert 0 <= kept <= 2 * boot_s
    assert cost(kept) <= cost(0.0) + 1e-9
