"""The terms of each pool's last decision as Prometheus gauges: what the controller saw, learned and wanted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from prometheus_client.core import GaugeMetricFamily, Metric

from core.fleet.decisions import DecisionRecord, Terms


def families(decisions: Sequence[DecisionRecord]) -> Iterator[Metric]:
    """Yield one gauge for each term, labelled by pool. A term that is None has no sample.

    A term of a newer controller, which has no description here, is exported under its name all the same.
    """
    at = GaugeMetricFamily("tagfleet_decision_time_seconds", "When a pool's last decision was noted", labels=["pool"])
    rule = GaugeMetricFamily("tagfleet_decision_rule", "1: the rule of the last decision", labels=["pool", "rule"])
    gauges: dict[str, GaugeMetricFamily] = {}
    for decision in decisions:
        at.add_metric([decision.pool], decision.at)
        for name, value in decision.terms.items():
            if name == "rule":
                rule.add_metric([decision.pool, str(value)], 1)
            elif isinstance(value, int | float):
                if name not in gauges:
                    gauges[name] = GaugeMetricFamily(f"tagfleet_decision_{name}", _documentation(name), labels=["pool"])
                gauges[name].add_metric([decision.pool], value)
    yield at
    yield rule
    yield from gauges.values()


def _documentation(name: str) -> str:
    term = Terms.described().get(name)
    return term.documentation if term else f"The term {name} of a pool's last decision"
