"""Groups of rows that hold their locks for a moment each."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web_tier.catalog.pace import Pace


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.rests: list[float] = []

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.rests.append(seconds)
        self.now += seconds


def sizes(cost_s: float, count: int = 20_000, fixed_s: float = 0.0) -> tuple[list[int], Clock]:
    clock = Clock()
    pace, found = Pace(clock, clock.pause), []
    for group in pace.groups(range(count)):
        with pace.measuring():
            clock.now += fixed_s + cost_s * len(group)
        found.append(len(group))
    return found, clock


@given(st.lists(st.integers(), max_size=2000), st.floats(0, 0.5))
def test_every_row_is_given_out_once_and_in_order(rows, cost_s):
    clock = Clock()
    pace = Pace(clock, clock.pause)
    found = []
    for group in pace.groups(rows):
        with pace.measuring():
            clock.now += cost_s * len(group)
        found += group
    assert found == rows


@pytest.mark.parametrize("cost_s", [0.00001, 0.0001, 0.001, 0.003])
def test_groups_come_to_hold_their_locks_for_some_hundredths_of_a_second(cost_s):
    found, _ = sizes(cost_s)
    settled = found[8:-1]
    assert all(size <= 500 for size in settled)
    assert max(settled) * cost_s <= 0.07


def test_where_each_row_costs_much_groups_are_small_but_go_on():
    found, _ = sizes(1.0, 1000)
    assert found[-2] == 10


def test_others_get_as_long_as_a_group_held_its_locks():
    found, clock = sizes(0.001, 5000)
    held = [0.001 * size for size in found]
    assert clock.rests == pytest.approx(held)


def test_a_wait_for_the_lock_makes_no_group_smaller():
    clock = Clock()
    pace, found = Pace(clock, clock.pause), []
    for group in pace.groups(range(5000)):
        clock.now += 5.0  # others write
        with pace.measuring():
            clock.now += 0.00001 * len(group)
        found.append(len(group))
    assert max(found) == 500
    assert max(clock.rests) < 0.1
