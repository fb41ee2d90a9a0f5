"""How requests slow down once a service throttles, on a clock that only moves when they wait."""

from __future__ import annotations

import pytest

from core.aws.request_rate import RequestRate


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def rest(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def limited(clock: Clock) -> RequestRate:
    return RequestRate(clock, clock.rest)


def send(limited: RequestRate, clock: Clock, rate: float, seconds: float) -> None:
    for _ in range(int(rate * seconds)):
        clock.now += 1 / rate
        limited.wait()


def sent_in(limited: RequestRate, clock: Clock, seconds: float) -> int:
    until, sent = clock.now + seconds, 0
    while clock.now < until:
        limited.wait()
        sent += 1
    return sent


def test_nothing_waits_until_the_service_throttles(limited: RequestRate, clock: Clock) -> None:
    before = clock.now
    for _ in range(10_000):
        limited.wait()
    assert clock.now == before


def test_a_throttled_client_keeps_most_of_its_rate_and_regains_it(limited: RequestRate, clock: Clock) -> None:
    send(limited, clock, 1_000, 3)
    limited.slow_down()
    assert sent_in(limited, clock, 1) == pytest.approx(750, rel=0.05)
    sent_in(limited, clock, 3)
    assert sent_in(limited, clock, 1) == pytest.approx(1_150, rel=0.05)
    clock.now += 10
    before = clock.now
    for _ in range(10_000):
        limited.wait()
    assert clock.now == before, "no limit is left"


def test_complaints_about_requests_under_way_together_count_once(limited: RequestRate, clock: Clock) -> None:
    send(limited, clock, 1_000, 3)
    for _ in range(64):
        limited.slow_down()
    assert sent_in(limited, clock, 1) == pytest.approx(750, rel=0.05)
    limited.slow_down()
    assert sent_in(limited, clock, 1) == pytest.approx(600, rel=0.05)


def test_a_client_that_asks_little_is_hardly_held_up(limited: RequestRate, clock: Clock) -> None:
    limited.wait()
    limited.slow_down()
    before = clock.now
    for _ in range(3):
        limited.wait()
    assert clock.now - before < 0.5
