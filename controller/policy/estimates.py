"""What the controller learns of a pool: μ, the throughput of a worker; B, its boot time; λ, the arrival rate. Pure."""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import median

from controller.state.model import Policy, PoolMemory, PoolView

_THROUGHPUTS = 15
_BOOTS = 20
_TRUSTED = 3
"""Below so many samples the prior stands in for the missing ones, so that one odd sample changes nothing."""
_LATELY = 0.25
"""Of the drain goal: the time over which the last arrivals are averaged."""
_LEAST = 1e-3
"""Images/s and seconds: what is divided by is never 0."""


def learn(view: PoolView, memory: PoolMemory, elapsed_s: float, policy: Policy) -> PoolMemory:
    """Take in what happened in a pool since the observation before. A failed reading teaches nothing."""
    if view.unread:
        return memory
    news = view.news
    still = view.depth.outstanding == 0 and news.handled == 0
    return replace(
        memory,
        throughputs=(memory.throughputs + news.throughputs)[-_THROUGHPUTS:],
        boots=(memory.boots + news.boots)[-_BOOTS:],
        arrivals=_smoothed(memory.arrivals, news.arrived, elapsed_s, policy.drain_goal_s),
        lately=_averaged(memory.lately, news.arrived, elapsed_s, policy.drain_goal_s * _LATELY),
        quiet_s=memory.quiet_s + elapsed_s if still else 0.0,
    )


def throughput(memory: PoolMemory, policy: Policy) -> float:
    """μ, images/s: the median of the last samples."""
    return max(_LEAST, median(_with_prior(memory.throughputs, policy.throughput_prior)))


def boot_time(memory: PoolMemory, policy: Policy) -> float:
    """B, seconds: the 90th percentile (nearest rank) of the last boots."""
    samples = sorted(_with_prior(memory.boots, policy.boot_prior_s))
    return max(_LEAST, samples[math.ceil(0.9 * len(samples)) - 1])


def arrival_rate(memory: PoolMemory, boot_s: float) -> float:
    """λ, images/s; 0 once nothing has come for a whole boot time, as a new worker would find nothing either.

    It rises as slowly as it must (`_smoothed`) and falls as fast as the last arrivals do: a flow that has ended would
    else hold its workers for minutes.
    """
    return 0.0 if memory.quiet_s > boot_s else max(0.0, min(memory.arrivals[1], memory.lately))


def _smoothed(stages: tuple[float, float], arrived: float, elapsed_s: float, time_s: float) -> tuple[float, float]:
    """Two exponential averages in a row, each over the drain goal L.

    A burst of n images is work in the queue, not a flow: one average would answer n/L at once and ask for the burst's
    workers a second time. Two answer 0 at first and then n·t/L²·exp(−t/L), so that while a burst is cleared on time the
    sum of both demands stays within 2 % of what the burst alone asked for (at ρ = 0.8).
    """
    first = _averaged(stages[0], arrived, elapsed_s, time_s)
    return first, _averaged(stages[1], first * max(_LEAST, elapsed_s), elapsed_s, time_s)


def _averaged(rate: float, arrived: float, elapsed_s: float, time_s: float) -> float:
    """An exponential average of what arrived in a second."""
    if elapsed_s <= 0:
        return rate
    elapsed_s = max(_LEAST, elapsed_s)
    return rate + (1 - math.exp(-elapsed_s / time_s)) * (arrived / elapsed_s - rate)


def _with_prior(samples: tuple[float, ...], prior: float) -> tuple[float, ...]:
    return samples + (prior,) * (_TRUSTED - len(samples))
