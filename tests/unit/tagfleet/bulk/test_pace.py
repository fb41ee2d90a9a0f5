"""A run looks at its progress rarely enough that the looks cost little, and often enough to notice its end."""

from __future__ import annotations

import pytest

from tagfleet.bulk.pace import LONGEST_S, SHORTEST_S, Pace


def looks(rate: float, images: int, lead: int = 5000) -> list[float]:
    """Return the times of the looks of a run whose workers tag `rate` images a second."""
    now = [0.0]
    pace, times = Pace(lambda: now[0]), []
    while not times or rate * now[0] < images:
        done = int(min(images, rate * now[0]))
        times.append(now[0])
        pace.record(done, min(images - done, lead))
        now[0] += pace.pause_s
    return times


@pytest.mark.parametrize("rate", [50, 700, 5000])
def test_a_thousand_images_cost_two_looks_or_one_a_second(rate: int) -> None:
    times = looks(rate, 100_000)
    assert len(times) <= max(2.5 * 100, 1.1 * 100_000 / rate) + 10


def test_while_nothing_happens_looks_become_rare() -> None:
    now = [0.0]
    pace = Pace(lambda: now[0])
    pauses = []
    for _ in range(7):
        pace.record(0, 5000)
        pauses.append(pace.pause_s)
        now[0] += pace.pause_s
    assert pauses == [2, 4, 8, LONGEST_S, LONGEST_S, LONGEST_S, LONGEST_S]
    pace.record(200, 4800)
    assert pace.pause_s <= LONGEST_S


def test_the_end_is_noticed_soon() -> None:
    times = looks(20, 5000)
    assert 5000 / 20 - times[-1] <= 2 * SHORTEST_S


def test_a_slow_look_is_repeated_rarely() -> None:
    pace = Pace(lambda: 0.0)
    pace.record(0, 1, took_s=3.0)
    assert pace.pause_s == 30
