"""Health checks and metrics, for those who watch the service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from flask import Blueprint, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from core import telemetry
from core.storage import layout
from web_tier.api.schemas.fleet import HealthOut
from web_tier.http.problems import Refused
from web_tier.http.routes import Answer, Resource
from web_tier.services import decision_metrics, readiness
from web_tier.services.container import Services


def blueprint(services: Services) -> Blueprint:
    health = Resource("health", tag="health")

    @health.route("GET /healthz", scope="open", answer=HealthOut)
    def healthz() -> dict[str, Any]:
        """Check that the process is alive

        `degraded` while something outside of it keeps it from serving everything; `/readyz` gives the reasons in full.
        Restarting it would not help.
        """
        database = services.database.health
        database.recheck()
        if trouble := database.trouble:
            return {"status": "degraded", "catalogue": trouble}
        return {"status": "ok"}

    @health.route(
        "GET /readyz",
        scope="read",
        answer=HealthOut,
        errors={503: "Something does not answer or makes no progress; the detail says what, and since when"},
    )
    def readyz() -> dict[str, Any]:
        """Check that photos become results

        Store, queue and catalogue answer; the collector, the controller and workers with work in hand make progress.
        For alarms and not for a load balancer: give that `/healthz`, because a web tier without a controller still
        accepts photos.
        """
        if failures := readiness.failures(services):
            raise Refused(503, "; ".join(failures), headers={"Retry-After": "5"})
        return {"status": "ready"}

    @health.route(
        "GET /metrics",
        scope="read",
        answer=Answer({"text/plain": {"schema": {"type": "string"}}}, description="Prometheus' text format"),
        errors={503: "The store, a queue or the catalogue does not answer"},
    )
    def metrics() -> Response:
        """Get metrics for Prometheus"""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Metrics(services))
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    return health.blueprint


class _Metrics(Collector):
    """Collects the metrics anew for each scrape."""

    def __init__(self, services: Services) -> None:
        self._services = services

    def collect(self) -> Iterator[Metric]:
        yield self._queues()
        yield self._workers()
        yield self._lost_lines()
        yield from self._silence()
        yield from decision_metrics.families(self._services.backend.roster.decisions())
        totals = self._services.catalog.totals()
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
        family.add_metric(["web"], telemetry.lines_dropped())
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
