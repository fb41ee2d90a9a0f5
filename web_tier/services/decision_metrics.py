"""The terms of each pool's last decision, as Prometheus gauges: what the controller saw, learned and wanted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric

from core.fleet.roster import DecisionRecord

HELP = {
    "visible": "Jobs that wait (V)",
    "in_flight": "Jobs in flight (F)",
    "delayed": "Jobs that wait for their delay to end (D)",
    "dead": "Dead letters",
    "orphaned": "Jobs in flight that no live worker holds (Fo)",
    "arrival_rate": "Images per second that arrive (lambda)",
    "throughput": "Images per second that one worker finishes (mu)",
    "boot_s": "Seconds from a launch to a ready worker (B)",
    "utilisation": "Share of a worker's throughput that steady arrivals may use (rho)",
    "drain_goal_s": "Seconds in which a backlog should be gone once a new worker is up (L)",
    "requested": "Launches asked for that the fleet does not list yet",
    "unanswered": "Launches that the fleet does not answer, again and again: paid for, in case they come to be",
    "booting": "Workers that boot",
    "idle": "Workers that are ready and have nothing to do",
    "busy": "Workers that are at work",
    "draining": "Workers that finish what they hold and end",
    "ending": "Workers that are neither capacity nor draining: on their way out",
    "by_hand": "Workers that are not of the fleet, but started by hand",
    "head_start_s": "Seconds that the booting workers have behind them, added up",
    "backlog": "Images that will still wait when a worker launched now is up (Q)",
    "wanted": "Workers that the work needs, or that are to be up before it (N*)",
    "floor": "Workers that the schedule asks for",
    "foreseen": "Images per second that came at this time yesterday; 0 where nobody looks (controller.forecast)",
    "needed": "Workers that the fleet itself must supply",
    "granted": "The pool's share of the cap",
    "cap": "Most instances of all pools together",
    "billable": "Instances of all pools that are paid for",
    "below_s": "Seconds that the target has stayed below the fleet",
    "keep_s": "Seconds for which a worker that is not needed is kept",
    "peak": "Most workers that were needed at one time within that",
    "starved_s": "Seconds that the pool has wanted a worker and had none",
    "failures": "Failed boots and refused launches in a row",
    "retry_in_s": "Seconds until the next launch may be tried",
    "price_per_hour": "US dollars per hour of the next instance",
    "spend_per_hour": "US dollars per hour of the instances of all pools",
    "budget_per_hour": "US dollars per hour that all instances together may cost; 0: any amount",
}
"""By term. A term without words of its own here, a newer controller's, is exported all the same."""


def families(decisions: Sequence[DecisionRecord]) -> Iterator[Metric]:
    """One gauge a term, labelled by pool. A term that is None at a pool has no sample there."""
    at = GaugeMetricFamily("tagfleet_decision_time_seconds", "When a pool's last decision was noted", labels=["pool"])
    rule = GaugeMetricFamily("tagfleet_decision_rule", "1: the rule of the last decision", labels=["pool", "rule"])
    gauges: dict[str, GaugeMetricFamily] = {}
    for decision in decisions:
        at.add_metric([decision.pool], decision.at)
        for term, value in decision.terms.items():
            if term == "rule":
                rule.add_metric([decision.pool, str(value)], 1)
            elif isinstance(value, int | float):
                if term not in gauges:
                    words = HELP.get(term, f"The term {term} of a pool's last decision")
                    gauges[term] = GaugeMetricFamily(f"tagfleet_decision_{term}", words, labels=["pool"])
                gauges[term].add_metric([decision.pool], value)
    yield at
    yield rule
    yield from gauges.values()
