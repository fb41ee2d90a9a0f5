"""McNemar's test and Wilson's interval, beside published figures and their definitions."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.util.significance import mcnemar_mid_p, wilson_interval


def test_published_figures() -> None:
    # Fagerland et al. 2013, table 1 (Bentur et al.): 1 and 7 discordant pairs, two-sided mid-p 0.039
    assert 2 * mcnemar_mid_p(7, 1) == pytest.approx(0.039, abs=5e-4)
    # Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263, 15 of 148 and 0 of 20, two-sided 95 %
    assert wilson_interval(81, 263, 0.975) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148, 0.975) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20, 0.975) == pytest.approx((0.0, 0.1611), abs=5e-5)


def test_no_difference_is_half_a_chance() -> None:
    assert mcnemar_mid_p(0, 0) == mcnemar_mid_p(5, 5) == 0.5


counts = st.integers(0, 300)


@given(counts, counts)
def test_loss_and_gain_mirror_each_other(lost: int, won: int) -> None:
    assert mcnemar_mid_p(lost, won) + mcnemar_mid_p(won, lost) == pytest.approx(1)
    assert mcnemar_mid_p(lost + 1, won) <= mcnemar_mid_p(lost, won)


@given(counts, st.integers(1, 300))
def test_the_interval_contains_what_was_seen(hits: int, more: int) -> None:
    low, high = wilson_interval(hits, hits + more)
    assert 0 <= low <= hits / (hits + more) <= high <= 1
