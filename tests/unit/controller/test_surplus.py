from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.policy.scale_in import Gap, Rung, note, peak, worth_keeping_s


def seen(needs: list[int], tick_s: float = 5.0) -> tuple[tuple[Rung, ...], tuple[Gap, ...]]:
    ladder: tuple[Rung, ...] = ()
    gaps: tuple[Gap, ...] = ()
    for needed in needs:
        ladder, gaps = note(ladder, gaps, needed, tick_s)
    return ladder, gaps


def test_the_ladder_tells_when_so_many_were_needed_last() -> None:
    ladder, gaps = seen([3, 7, 5, 5, 2])
    assert ladder == ((0.0, 2), (5.0, 5), (15.0, 7))
    assert gaps == ()
    assert [peak(ladder, within) for within in (1.0, 6.0, 16.0)] == [2, 5, 7]


def test_a_return_tells_how_long_which_workers_were_away() -> None:
    ladder, gaps = seen([3, 7, 5, 5, 2, 6])
    assert gaps == ((7.5, 3), (17.5, 1)), "three of them since the fourth tick, one since the second"
    assert ladder == ((0.0, 6), (20.0, 7))


def test_a_worker_is_kept_for_what_would_have_cost_least() -> None:
    assert worth_keeping_s(((30.0, 2),), boot_s=60.0) == 0.0, "two returns teach nothing"
    assert worth_keeping_s(((30.0, 3),), boot_s=60.0) == pytest.approx(37.5)
    assert worth_keeping_s(((180.0, 30),), boot_s=60.0) == 0.0, "a boot is cheaper than three minutes"
    assert worth_keeping_s(((10.0, 30), (180.0, 10)), boot_s=60.0) == pytest.approx(12.5)


@given(st.lists(st.integers(0, 60), min_size=1, max_size=200))
def test_the_ladder_rises_in_age_and_number_and_stays_short(needs: list[int]) -> None:
    ladder, gaps = seen(needs)
    assert ladder[0] == (0.0, needs[-1])
    assert list(ladder) == sorted(ladder)
    assert [count for _, count in ladder] == sorted({count for _, count in ladder})
    assert len(ladder) <= 40
    assert len(gaps) <= 20
    assert all(gap > 0 and count > 0 for gap, count in gaps)
    assert max(needs) == peak(ladder, 3_601.0)


@given(st.lists(st.tuples(st.floats(1, 1_000), st.integers(1, 20)), max_size=20), st.floats(1, 200))
def test_nobody_is_kept_for_longer_than_two_boots_nor_at_a_loss(gaps: list[Gap], boot_s: float) -> None:
    def cost(kept: float) -> float:
        return sum(count * (gap if gap <= kept else kept + boot_s) for gap, count in gaps)

    kept = worth_keeping_s(tuple(gaps), boot_s)
    assert 0 <= kept <= 2 * boot_s
    assert cost(kept) <= cost(0.0) + 1e-9
