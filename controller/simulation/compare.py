"""Run every trace under every policy, and compare each run with a clairvoyant that has the same p95 wait."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from controller.policy.policy import Decide, decide
from controller.simulation.baselines import BASELINES, baseline
from controller.simulation.clairvoyant import plan_clairvoyantly
from controller.simulation.run import SimulatedRun, simulate
from controller.simulation.run_metrics import RunMetrics, measure_run
from controller.simulation.scenario import Scenario
from controller.simulation.traces import Trace

OURS = "tagfleet"
POLICIES = (OURS, *BASELINES)
GOAL = 1.25
"""How many times the clairvoyant's cost ours may be, at the same p95 wait."""


@dataclass(frozen=True, slots=True)
class Row:
    """One run, measured."""

    run: SimulatedRun
    metrics: RunMetrics
    clairvoyant_cost: float
    """$ of the cheapest clairvoyant plan with this run's p95 wait."""

    @property
    def trace(self) -> str:
        return self.run.trace.name

    @property
    def ratio(self) -> float:
        return self.metrics.cost / self.clairvoyant_cost if self.clairvoyant_cost else 1.0


def policy_named(name: str) -> Decide:
    """Return a new policy for one run. Raises KeyError."""
    return decide if name == OURS else baseline(name)


def compare(
    traces: Sequence[Trace],
    policies: Sequence[str],
    scenario: Scenario,
    seed: int,
    on_run: Callable[[str, str], None] = lambda _trace, _policy: None,
) -> Iterator[Row]:
    for trace in traces:
        for name in policies:
            on_run(trace.name, name)
            run = simulate(trace, name, policy_named(name), scenario, seed)
            found = measure_run(run, scenario)
            worker = replace(scenario.worker, boot_s=run.boot_s or scenario.worker.boot_s)
            yield Row(run, found, plan_clairvoyantly(trace, worker, found.p95).cost)


def verdicts(rows: Sequence[Row]) -> list[tuple[bool, str]]:
    """Return whether our policy keeps its promises to each baseline and to the clairvoyant, with a sentence each."""
    ours = {row.trace: row for row in rows if row.run.policy == OURS}
    found = []
    for name in dict.fromkeys(row.run.policy for row in rows if row.run.policy != OURS):
        theirs = {row.trace: row.metrics for row in rows if row.run.policy == name}
        pairs = [(trace, ours[trace].metrics, theirs[trace]) for trace in theirs if trace in ours]
        lost = [trace for trace, a, b in pairs if a.p95 > b.p95 and a.cost > b.cost]
        won = sum(a.p95 <= b.p95 and a.cost <= b.cost for _, a, b in pairs)
        text = f"{name}: better in both p95 wait and cost on {won} of {len(pairs)} traces, worse in both on {len(lost)}"
        found.append((not lost, f"{text} ({', '.join(lost)})" if lost else text))
    if ours:
        worst = max(ours.values(), key=lambda row: row.ratio)
        total = sum(row.metrics.cost for row in ours.values()) / sum(row.clairvoyant_cost for row in ours.values())
        text = f"clairvoyant: {total:.2f} times its cost at equal p95 wait over all, {worst.ratio:.2f} on {worst.trace}"
        found.append((worst.ratio <= GOAL, f"{text} at worst; the goal is {GOAL}"))
    return found
