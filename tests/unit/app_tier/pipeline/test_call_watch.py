"""How long the slowest call under way has taken."""

from __future__ import annotations

import pytest

from app_tier.pipeline.call_watch import CallWatch


def test_the_slowest_call_under_way_counts() -> None:
    now = [0.0]
    watch = CallWatch(lambda: now[0])
    assert watch.longest_s() == 0.0
    with watch.call():
        now[0] = 5.0
        with watch.call():
            now[0] = 7.0
            assert watch.longest_s() == 7.0
        assert watch.longest_s() == 7.0
        assert watch.slowest_s == 2.0
    assert watch.longest_s() == 0.0
    assert watch.slowest_s == 7.0


def test_a_call_that_fails_is_over() -> None:
    watch = CallWatch(lambda: 1.0)
    with pytest.raises(RuntimeError), watch.call():
        raise RuntimeError
    assert watch.longest_s() == 0.0
