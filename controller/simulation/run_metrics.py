"""Measure a run: waits, cost and SPEC's elasticity figures."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from controller.simulation.run import SimulatedRun
from controller.simulation.scenario import Scenario
from controller.simulation.traces import Trace


@dataclass(frozen=True, slots=True)
class Elasticity:
    """SPEC's elasticity figures: the supply of workers against the demand over time, as shares of 1.

    N. Herbst, S. Kounev, A. Weber, H. Groenda, "BUNGEE: an elasticity benchmark for self-adaptive IaaS cloud
    environments", SEAMS 2015; and "Ready for rain? A view from SPEC Research on the future of cloud metrics",
    SPEC-RG-2016-01. Accuracies are normalised by the demand, and the time without demand counts against one worker.
    """

    under: float
    """Accuracy: the missing share of the demand, on average."""
    over: float
    """Accuracy: the surplus in relation to the demand, on average."""
    under_time: float
    """Share of the time in which workers were missing."""
    over_time: float
    """Share of the time in which there were too many."""
    instability: float
    """Share of the time in which supply and demand did not move in the same direction."""


@dataclass(frozen=True, slots=True)
class RunMetrics:
    """Waits run from an image's arrival to its result, in seconds."""

    mean: float
    p50: float
    p95: float
    p99: float
    most: float
    cost: float
    per_thousand: float
    """$ per 1,000 images."""
    launched: int
    peak: int
    elasticity: Elasticity


def measure_run(run: SimulatedRun, scenario: Scenario) -> RunMetrics:
    mean, p50, p95, p99, most = summary(run.waits)
    return RunMetrics(
        mean=mean,
        p50=p50,
        p95=p95,
        p99=p99,
        most=most,
        cost=run.cost,
        per_thousand=1000 * run.cost / max(1, run.done),
        launched=run.launched,
        peak=max((moment.billed for moment in run.snapshots), default=0),
        elasticity=elasticity(run, scenario),
    )


def summary(waits: Sequence[tuple[float, int]]) -> tuple[float, float, float, float, float]:
    """Return mean, 50th, 95th and 99th percentile (nearest rank) and maximum of waits, given as (seconds, images)."""
    total = sum(count for _, count in waits)
    if not total:
        return 0.0, 0.0, 0.0, 0.0, 0.0
    ordered = sorted(waits)
    ranks = iter((0.5 * total, 0.95 * total, 0.99 * total))
    found: list[float] = []
    seen, rank = 0, next(ranks)
    for wait, count in ordered:
        seen += count
        while len(found) < 3 and seen >= rank:
            found.append(wait)
            rank = next(ranks, float("inf"))
    mean = sum(wait * count for wait, count in ordered) / total
    return mean, found[0], found[1], found[2], ordered[-1][0]


def demand(trace: Trace, scenario: Scenario, moments: Sequence[float]) -> Iterator[float]:
    """Yield the demand at each moment (in order): workers that clear in one L what arrived within the last L."""
    goal, speed = scenario.settings.backlog_target_s, scenario.worker.throughput
    coming = deque(trace.arrivals)
    recent: deque[tuple[float, int]] = deque()
    images = 0
    for now in moments:
        while coming and coming[0][0] <= now:
            recent.append(coming.popleft())
            images += recent[-1][1]
        while recent and recent[0][0] <= now - goal:
            images -= recent.popleft()[1]
        yield float(-(-images // (speed * goal)))


def elasticity(run: SimulatedRun, scenario: Scenario) -> Elasticity:
    moments = [moment for moment in run.snapshots if moment.at <= run.trace.length_s]
    wanted = list(demand(run.trace, scenario, [moment.at for moment in moments]))
    pairs = [(moment.ready, need) for moment, need in zip(moments, wanted, strict=True)]
    n = max(1, len(pairs))
    moves = [(_sign(s2 - s1), _sign(d2 - d1)) for (s1, d1), (s2, d2) in pairwise(pairs)]
    return Elasticity(
        under=sum(max(0.0, need - supply) / max(1.0, need) for supply, need in pairs) / n,
        over=sum(max(0.0, supply - need) / max(1.0, need) for supply, need in pairs) / n,
        under_time=sum(supply < need for supply, need in pairs) / n,
        over_time=sum(supply > need for supply, need in pairs) / n,
        instability=sum(supply != need for supply, need in moves) / max(1, len(moves)),
    )


def _sign(value: float) -> int:
    return (value > 0) - (value < 0)
