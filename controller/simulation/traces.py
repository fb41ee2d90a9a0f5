"""Traces: when how many images arrive. They are generated from a seed or read from a CSV file."""

from __future__ import annotations

import csv
import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Trace:
    """`arrivals` are (seconds from the start, images), in order. `length_s` may extend beyond the last of them."""

    name: str
    length_s: float
    arrivals: tuple[tuple[float, int], ...]

    @property
    def images(self) -> int:
        return sum(count for _, count in self.arrivals)


def _flow(name: str, length_s: float, rate: Callable[[float], float], chance: random.Random) -> Trace:
    """A Poisson stream whose images/s follow `rate`, counted by the second."""
    arrivals = []
    for second in range(int(length_s)):
        count = _poisson(rate(second + 0.5), chance)
        if count:
            arrivals.append((second + chance.random(), count))
    return Trace(name, length_s, tuple(arrivals))


def _poisson(mean: float, chance: random.Random) -> int:
    """Knuth's product of uniforms; the normal approximation where the mean is large."""
    if mean > 50:
        return max(0, round(chance.gauss(mean, math.sqrt(mean))))
    limit, product, count = math.exp(-mean), chance.random(), 0
    while product > limit:
        product *= chance.random()
        count += 1
    return count


def step(chance: random.Random) -> Trace:
    """Nothing, then 47 images/s for 40 minutes, then nothing."""
    return _flow("step", 3600, lambda t: 47.0 if 600 <= t < 3000 else 0.0, chance)


def ramp(chance: random.Random) -> Trace:
    """From 0 to 80 images/s within 40 minutes, and down again."""
    return _flow("ramp", 5400, lambda t: 80.0 * max(0.0, 1 - abs(t - 2700) / 2400), chance)


def diurnal(chance: random.Random) -> Trace:
    """A day: quiet at night, 40 images/s at noon and in the evening."""

    def rate(t: float) -> float:
        hour = t / 3600
        return 1.0 + 39.0 * max(math.exp(-(((hour - 12) / 2.5) ** 2)), math.exp(-(((hour - 19.5) / 1.5) ** 2)))

    return _flow("diurnal", 86_400, rate, chance)


def days(chance: random.Random) -> Trace:
    """Two diurnal days: the second one shows what the first one taught."""
    first, second = diurnal(chance), diurnal(chance)
    later = ((first.length_s + at, count) for at, count in second.arrivals)
    return Trace("days", first.length_s + second.length_s, (*first.arrivals, *later))


def flash(chance: random.Random) -> Trace:
    """A flash crowd: 4 images/s, then 40 times as many for five minutes, which fade."""
    return _flow(
        "flash", 5400, lambda t: 4.0 + (156.0 * min(1.0, math.exp(-(t - 2100) / 300)) if t >= 1800 else 0.0), chance
    )


def bursty(chance: random.Random) -> Trace:
    """A Markov-modulated Poisson process: 2 images/s for 5 minutes on average, then 60 for 90 seconds."""
    states, t, until, busy = [], 0.0, 0.0, True
    while t < 7200:
        busy = not busy
        until = t + chance.expovariate(1 / (90.0 if busy else 300.0))
        states.append((until, 60.0 if busy else 2.0))
        t = until
    position = iter(states)
    now = [next(position)]

    def rate(t: float) -> float:
        while t >= now[0][0]:
            now[0] = next(position)
        return now[0][1]

    return _flow("bursty", 7200, rate, chance)


def sparse(chance: random.Random) -> Trace:
    """One photo every 3 minutes, give or take 5 seconds."""
    return Trace("sparse", 10_800, tuple((60.0 + 180.0 * n + chance.uniform(-5, 5), 1) for n in range(59)))


def old(chance: random.Random) -> Trace:
    """The load test of the system that Tagfleet replaces: 30 photos at once."""
    return Trace("old", 900, ((60.0 + chance.random(), 30),))


def heavy(chance: random.Random) -> Trace:
    """A day of a million images, most of them by day."""
    return _flow("heavy", 86_400, lambda t: 11.6 * (1 - 0.95 * math.cos(2 * math.pi * t / 86_400)), chance)


MADE = {make.__name__: make for make in (step, ramp, diurnal, flash, bursty, sparse, old, heavy, days)}
STANDARD = tuple(name for name in MADE if name not in ("heavy", "days"))
"""The traces of the published table."""


def trace(name: str, seed: int) -> Trace:
    """Generate a trace by name. Raises KeyError."""
    return MADE[name](random.Random(f"{name} {seed}"))  # noqa: S311  # a simulation's chance, not a secret


def from_csv(path: Path) -> Trace:
    """Read lines `seconds,images`, with or without a heading. Raises ValueError, which names the line."""
    with path.open(newline="") as file:
        return Trace(path.stem, *_checked(csv.reader(file), path.name))


def _checked(rows: Iterable[list[str]], source: str) -> tuple[float, tuple[tuple[float, int], ...]]:
    arrivals = []
    for number, row in enumerate(rows, 1):
        try:
            moment, count = float(row[0]), int(row[1])
        except (IndexError, ValueError):
            if number == 1 or not row:
                continue
            raise ValueError(f"{source}, line {number}: not `seconds,images`, for example `12.5,3`") from None
        if not (0 <= moment < math.inf and count >= 0):
            raise ValueError(f"{source}, line {number}: seconds from the start and a count, both 0 or more")
        if count:
            arrivals.append((moment, count))
    if not arrivals:
        raise ValueError(f"{source}: no arrivals in it; its lines are `seconds,images`")
    arrivals.sort()
    return arrivals[-1][0] + 60.0, tuple(arrivals)
