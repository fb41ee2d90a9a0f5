"""The arrival profile of a day: what is kept of it, and what a clock that jumps does to it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.policy.arrival_profile import SLOT_S, ArrivalProfile, Slot

DAY = 86_400.0
START = 20_000 * DAY


def watched(profile: ArrivalProfile, begin: float, rates: list[float], step_s: float = 60.0) -> float:
    """Slots of these rates, images/s, one after the other; returns the time after them."""
    for number, rate in enumerate(rates):
        for passed in range(round(SLOT_S / step_s)):
            profile.add(begin + number * SLOT_S + passed * step_s, step_s, rate * step_s)
    return begin + len(rates) * SLOT_S


def test_yesterdays_slot_is_foreseen_and_a_boot_and_a_slot_ahead() -> None:
    profile = ArrivalProfile()
    watched(profile, START, [0.0, 4.0, 0.0, 0.0])
    tomorrow = START + DAY
    assert profile.find_peak_rate(tomorrow, 0.0) == 0.0
    assert profile.find_peak_rate(tomorrow, SLOT_S) == 4.0
    assert profile.find_peak_rate(tomorrow - 60.0, SLOT_S + 60.0) == 4.0
    assert profile.find_peak_rate(tomorrow + SLOT_S, 60.0) == 4.0


def test_a_flash_crowd_is_foreseen_in_its_slots_only() -> None:
    profile = ArrivalProfile()
    watched(profile, START, [1.0, 400.0, 1.0, 1.0, 1.0])
    later = [profile.find_peak_rate(START + DAY + n * SLOT_S, SLOT_S) for n in range(4)]
    assert later == [400.0, 400.0, 1.0, 1.0]


def test_a_day_that_was_missed_foresees_nothing() -> None:
    profile = ArrivalProfile()
    watched(profile, START, [3.0] * 4)
    assert profile.find_peak_rate(START, SLOT_S) == 0.0
    assert profile.find_peak_rate(START + 2 * DAY, SLOT_S) == 0.0
    assert profile.find_peak_rate(START + 30 * DAY, SLOT_S) == 0.0


def test_what_was_seen_for_less_than_half_is_not_known() -> None:
    assert Slot(1, 100.0, 0.49 * SLOT_S).rate is None
    assert Slot(1, -5.0, SLOT_S).rate == 0.0, "counts lag: more was finished than was seen to come"


def test_two_days_are_kept_and_no_more() -> None:
    profile = ArrivalProfile()
    watched(profile, START, [1.0] * (3 * 96), step_s=450.0)
    assert len(profile.slots) == 2 * 96
    assert profile.slots[-1].number - profile.slots[0].number == 2 * 96 - 1


def test_a_clock_that_goes_a_year_ahead_and_back_spoils_the_slots_of_that_time_only() -> None:
    profile, year = ArrivalProfile(), 365 * DAY
    noon = watched(profile, START, [2.0] * 48)
    watched(profile, noon + year, [50.0] * 2)
    watched(profile, noon + 2 * SLOT_S, [2.0] * 3)
    tomorrow = START + DAY
    rates = [profile.find_peak_rate(tomorrow + n * SLOT_S, 0.0) for n in range(52)]
    assert rates[:47] == [2.0] * 47
    assert rates[48:50] == [0.0, 0.0]
    assert rates[51] == 2.0


def test_what_came_while_the_machine_slept_belongs_to_no_slot() -> None:
    profile = ArrivalProfile()
    now = watched(profile, START, [2.0, 2.0])
    profile.add(now + 5 * SLOT_S + 60.0, 2.0, 90_000.0)
    watched(profile, now + 6 * SLOT_S, [2.0, 2.0])
    assert max(slot.images for slot in profile.slots) <= 2.0 * SLOT_S


def test_a_clock_that_goes_back_does_not_replace_a_slot_by_less_of_it() -> None:
    profile = ArrivalProfile()
    now = watched(profile, START, [2.0, 2.0, 2.0])
    profile.add(now, 1.0, 0.0)
    watched(profile, START + 600.0, [0.0, 0.0])
    assert profile.find_peak_rate(START + DAY, 0.0) == 2.0


@given(st.lists(st.tuples(st.floats(-1e9, 4e9), st.floats(0, 2_000), st.floats(-1e4, 1e6)), max_size=60))
def test_whatever_the_clock_says_the_ring_stays_small_and_its_rates_sane(
    steps: list[tuple[float, float, float]],
) -> None:
    profile = ArrivalProfile()
    for at, elapsed_s, arrived in steps:
        profile.add(at, elapsed_s, arrived)
        assert profile.find_peak_rate(at, 4_000.0) >= 0.0
    assert len(profile.slots) <= 2 * 96
    assert len({slot.number for slot in profile.slots}) == len(profile.slots)
    assert ArrivalProfile(profile.slots).slots == profile.slots
