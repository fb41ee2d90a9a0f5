"""A run looks at its progress rarely enough that the looks cost little, and often enough to notice its end."""

from __future__ import annotations

import pytest

from tagfleet.bulk.poll_interval import LONGEST_S, SHORTEST_S, PollInterval


def looks(rate: float, images: int, lead: int = 5000) -> list[float]:
    """Return the times of the looks of a run whose workers tag `rate` images a second."""
    now = [0.0]
    interval, times = PollInterval(lambda: now[0]), []
    while not times or rate * now[0] < images:
        done = int(min(images, rate * now[0]))
        times.append(now[0])
        interval.record(done, min(images - done, lead))
        now[0] += interval.pause_s
    return times


@pytest.mark.parametrize("rate", [50, 700, 5000])
def test_a_thousand_images_cost_two_looks_or_one_a_second(rate: int) -> None:
    times = looks(rate, 100_000)
    assert len(times) <= max(2.5 * 100, 1.1 * 100_000 / rate) + 10


def test_while_nothing_happens_looks_become_rare() -> None:
    now = [0.0]
    interval = PollInterval(lambda: now[0])
    pauses = []
    for _ in range(7):
        interval.record(0, 5000)
        pauses.append(interval.pause_s)
        now[0] += interval.pause_s
    assert pauses == [2, 4, 8, LONGEST_S, LONGEST_S, LONGEST_S, LONGEST_S]
    interval.record(200, 4800)
    assert interval.pause_s <= LONGEST_S


def test_the_end_is_noticed_soon() -> None:
    times = looks(20, 5000)
    assert 5000 / 20 - times[-1] <= 2 * SHORTEST_S


def test_a_slow_look_is_repeated_rarely() -> None:
    interval = PollInterval(lambda: 0.0)
    interval.record(0, 1, took_s=3.0)
    assert interval.pause_s == 30
