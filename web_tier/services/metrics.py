"""Metrics for Prometheus: the queues, the workers, the catalogue, and the terms of the controller's decisions."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST as CONTENT_TYPE
from prometheus_client.registry import Collector

from core import telemetry
from core.fleet.decisions import DecisionRecord
from core.fleet.terms import Terms
from core.storage import layout
from web_tier.services.container import Services

__all__ = ["CONTENT_TYPE", "decision_gauges", "expose"]


def expose(services: Services) -> bytes:
    """Return all metrics in Prometheus' text format. Raises Unavailable."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_ServiceMetrics(services))
    return generate_latest(registry)


def decision_gauges(decisions: Sequence[DecisionRecord]) -> Iterator[Metric]:
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


class _ServiceMetrics(Collector):
    """Collects the metrics anew for each scrape."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        yield self._queues()
        yield self._workers()
        yield self._lost_lines()
        yield from self._silence()
        yield from decision_gauges(self._services.backend.roster.decisions())
        totals = self._services.catalog.count_all()
        yield GaugeMetricFamily("tagfleet_batches", "Batches in the catalogue", value=totals.batches)
        yield GaugeMetricFamily("tagfleet_batches_unfinished", "Batches not yet completed", value=totals.unfinished)
        yield CounterMetricFamily("tagfleet_images_accepted", "Images accepted", value=totals.images)
        backlog = self._services.removal.backlog()
        yield GaugeMetricFamily("tagfleet_batches_to_remove", "Deleted batches not yet removed", value=backlog.batches)
        yield GaugeMetricFamily(
            "tagfleet_images_to_remove",
            "Images of deleted batches not yet removed, each with up to three objects",
            value=backlog.images,
        )
        finished = CounterMetricFamily("tagfleet_images_finished", "Images that reached an end", labels=["status"])
        finished.add_metric(["succeeded"], totals.completed - totals.failed - totals.cancelled)
        finished.add_metric(["failed"], totals.failed)
        finished.add_metric(["cancelled"], totals.cancelled)
        yield finished

    def _queues(self) -> Metric:
        family = GaugeMetricFamily("tagfleet_queue_messages", "Messages on a queue", labels=["queue", "state"])
        pools = self._services.settings.pools
        depths = {layout.jobs_queue(pool): self._services.jobs(pool).depth() for pool in pools}
        depths[layout.RESULTS_QUEUE] = self._services.backend.results.depth()
        for name, depth in depths.items():
            for state in ("visible", "in_flight", "delayed", "dead"):
                family.add_metric([name, state], getattr(depth, state))
        return family

    def _lost_lines(self) -> Metric:
        family = GaugeMetricFamily(
            "tagfleet_log_lines_dropped", "Log lines that could not be written", labels=["process"]
        )
        host = self._services.host
        host.lines_dropped.own = telemetry.lines_dropped()
        family.add_metric(["web"], host.lines_dropped.total)
        family.add_metric(["worker"], sum(worker.log_lines_dropped for worker in self._services.fleet.workers()))
        for view in self._services.fleet.roles():
            family.add_metric([view.beat.role], view.beat.log_lines_dropped)
        return family

    def _silence(self) -> Iterator[Metric]:
        silent = GaugeMetricFamily(
            "tagfleet_silent_seconds",
            "Seconds since the last sign of life of the collector, the controller",
            labels=["process"],
        )
        for view in self._services.fleet.roles():
            if not view.beat.ended:
                silent.add_metric([view.beat.role], round(view.silent_s, 1))
        yield silent
        lost = Counter(one.beat.pool for one in self._services.fleet.lost())
        family = GaugeMetricFamily("tagfleet_workers_lost", "Workers whose heartbeat has stopped", labels=["pool"])
        for pool, count in sorted(lost.items()):
            family.add_metric([pool], count)
        yield family

    def _workers(self) -> Metric:
        family = GaugeMetricFamily("tagfleet_workers", "Workers alive", labels=["pool", "state"])
        counts = Counter((worker.pool, worker.state.value) for worker in self._services.fleet.workers())
        for (pool, state), count in sorted(counts.items()):
            family.add_metric([pool, state], count)
        return family
