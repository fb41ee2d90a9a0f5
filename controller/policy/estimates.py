"""Estimate a pool's throughput μ, boot time B and arrival rate λ from what was observed.

1. μ, images/s of one worker: the median of the last 15 samples.
2. B, seconds from launch to ready: the 90th percentile (nearest rank) of the last 20 boots.
3. λ, images/s: two exponential averages in a row, each over the drain goal L, capped by a quick average over L/4, and
   0 once nothing has come for a whole B.
4. While there are fewer than three samples of μ or B, the settings' prior replaces each missing one.
"""

from __future__ import annotations

import math
from dataclasses import replace
from statistics import median

from controller.state.model import Policy, PoolMemory, PoolView

_THROUGHPUTS = 15
_BOOTS = 20
_MIN_SAMPLES = 3
"""The prior replaces each missing sample, so that one odd sample changes nothing."""
_RECENT = 0.25
"""Share of the drain goal over which the quick average runs."""
_LEAST = 1e-3
"""Images/s and seconds: no divisor is ever 0."""


def update_estimates(view: PoolView, memory: PoolMemory, elapsed_s: float, policy: Policy) -> PoolMemory:
    """Update a pool's estimates with the changes since the previous observation. A failed reading changes nothing."""
    if view.unread:
        return memory
    delta = view.delta
    still = view.depth.outstanding == 0 and delta.handled == 0
    return replace(
        memory,
        throughputs=(memory.throughputs + delta.throughputs)[-_THROUGHPUTS:],
        boots=(memory.boots + delta.boots)[-_BOOTS:],
        arrivals=_smooth(memory.arrivals, delta.arrived, elapsed_s, policy.drain_goal_s),
        lately=_average(memory.lately, delta.arrived, elapsed_s, policy.drain_goal_s * _RECENT),
        quiet_s=memory.quiet_s + elapsed_s if still else 0.0,
    )


def estimate_throughput(memory: PoolMemory, policy: Policy) -> float:
    """Return μ, the images/s of one worker."""
    return max(_LEAST, median(_with_prior(memory.throughputs, policy.throughput_prior)))


def estimate_boot_s(memory: PoolMemory, policy: Policy) -> float:
    """Return B, the seconds from launch to ready."""
    samples = sorted(_with_prior(memory.boots, policy.boot_prior_s))
    return max(_LEAST, samples[math.ceil(0.9 * len(samples)) - 1])


def estimate_arrival_rate(memory: PoolMemory, boot_s: float) -> float:
    """Return λ in images/s; 0 once nothing has come for a whole boot, because a new worker would find nothing either.

    It rises slowly (`_smooth`) and falls as fast as the last arrivals do. Otherwise a flow that has ended would keep
    its workers for minutes.
    """
    return 0.0 if memory.quiet_s > boot_s else max(0.0, min(memory.arrivals[1], memory.lately))


def _smooth(stages: tuple[float, float], arrived: float, elapsed_s: float, time_s: float) -> tuple[float, float]:
    """Update two exponential averages in a row, each over the drain goal L.

    A burst of n images is work in the queue, not a flow. One average would answer n/L at once and ask for the burst's
    workers a second time. Two answer 0 at first and then n·t/L²·exp(−t/L): while a burst is cleared on time, both
    demands together stay within 2 % of what the burst alone asked for (at ρ = 0.8).
    """
    first = _average(stages[0], arrived, elapsed_s, time_s)
    return first, _average(stages[1], first * max(_LEAST, elapsed_s), elapsed_s, time_s)


def _average(rate: float, arrived: float, elapsed_s: float, time_s: float) -> float:
    """Update the exponential average of arrivals per second, with the time constant `time_s`."""
    if elapsed_s <= 0:
        return rate
    elapsed_s = max(_LEAST, elapsed_s)
    return rate + (1 - math.exp(-elapsed_s / time_s)) * (arrived / elapsed_s - rate)


def _with_prior(samples: tuple[float, ...], prior: float) -> tuple[float, ...]:
    return samples + (prior,) * (_MIN_SAMPLES - len(samples))
