"""When photos leave, and parsing of sizes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tagfleet.loadtest.plan import Arrivals, LoadPlan, LoadTestError, parse_size


def test_even_arrivals_are_the_rate_s_reciprocal_apart():
    assert LoadPlan(count=4, rate=2, arrivals=Arrivals.EVEN).offsets() == [0, 0.5, 1, 1.5]


def test_without_a_rate_no_photo_has_a_time_of_its_own():
    assert LoadPlan(count=4).offsets() is None


@given(seed=st.integers(0, 1000))
def test_poisson_arrivals_never_go_back_and_keep_the_rate_in_the_long_run(seed):
    offsets = LoadPlan(count=4000, rate=50, seed=seed).offsets()
    assert offsets == sorted(offsets)
    assert 4000 / offsets[-1] == pytest.approx(50, rel=0.15)  # six deviations of the mean of 4,000 gaps are 10 %


@pytest.mark.parametrize(
    ("text", "size"), [("1900", 1900), ("80kB", 80_000), ("80 KB", 80_000), ("2MB", 2_000_000), ("1.5 kb", 1_500)]
)
def test_sizes_are_decimal(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "big", "80kiB", "-3", "80 kB each"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(LoadTestError, match="is not a size"):
        parse_size(text)
