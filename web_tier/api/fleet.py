"""The state of the fleet, health and metrics."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

from apiflask import APIBlueprint
from flask import Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.registry import Collector

from core import telemetry
from core.fleet import operating
from core.storage import layout
from core.storage.ports import Depth
from web_tier.api.schemas.batches import FleetOut, HealthOut
from web_tier.http.problems import Refused
from web_tier.http.responses import json_response
from web_tier.services import decision_metrics, readiness
from web_tier.services.container import Services

_METRICS: Any = {
    200: {"description": "Prometheus' text format", "content": {"text/plain": {"schema": {"type": "string"}}}},
    503: "The store, a queue or the catalogue does not answer",
}


def blueprint(services: Services) -> APIBlueprint:
    api = APIBlueprint("fleet", __name__, tag="fleet")

    @api.get("/fleet")
    @api.output(FleetOut)
    def get_fleet() -> Response:
        """Queues, workers and the controller's latest decisions

        `cap` is how many workers of all pools there may be; `cap_source` who says so. `stalled` is what stands still
        while there is work for it, as `/readyz` has it.
        """
        roster = services.backend.roster
        cap, source = operating.cap(roster, services.settings.controller.max_workers)
        return json_response(
            {
                "queues": {pool: asdict(depth) for pool, depth in _depths(services).items()},
                "workers": [worker.model_dump(mode="json") for worker in services.fleet.workers()],
                "stalled": [asdict(one) for one in readiness.stalled(services)],
                "pools": [status.model_dump(mode="json") for status in roster.pools()],
                "decisions": [decision.model_dump(mode="json") for decision in roster.decisions()],
                "paused": roster.paused(),
                "cap": cap,
                "cap_source": source,
            }
        )

    return api


def health_blueprint(services: Services) -> APIBlueprint:
    api = APIBlueprint("health", __name__, tag="health")

    @api.get("/healthz")
    @api.output(HealthOut)
    def healthz() -> Response:
        """The process lives

        `degraded` while it cannot serve all it should, for a reason outside of it, that `/readyz` tells in full: to
        start it again would not help.
        """
        health = services.database.health
        health.ask_again()
        if trouble := health.trouble:
            return json_response({"status": "degraded", "catalogue": trouble})
        return json_response({"status": "ok"})

    @api.get("/readyz")
    @api.output(HealthOut)
    @api.doc(responses={503: "Something does not answer or stands still; the detail says what, and since when"})
    def readyz() -> Response:
        """Photos that come in become results

        Store, queue and catalogue answer; the collector, the controller and workers with work in hand move. For alarms,
        not for a load balancer: use `/healthz` there, as a web tier without a controller still takes photos in.
        """
        if failures := readiness.failures(services):
            raise Refused(503, "; ".join(failures), headers={"Retry-After": "5"})
        return json_response({"status": "ready"})

    @api.get("/metrics")
    @api.doc(responses=_METRICS)
    def metrics() -> Response:
        """Metrics for Prometheus"""
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Metrics(services))
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_LATEST)

    return api


def _depths(services: Services) -> dict[str, Depth]:
    return {pool: services.jobs(pool).depth() for pool in services.settings.pools}


class _Metrics(Collector):
    """Read anew for each scrape."""

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
        left = self._services.removal.left()
        yield GaugeMetricFamily("tagfleet_batches_to_remove", "Deleted batches not yet removed", value=left.batches)
        yield GaugeMetricFamily(
            "tagfleet_images_to_remove",
            "Images of deleted batches not yet removed, each with up to three objects",
            value=left.images,
        )
        finished = CounterMetricFamily("tagfleet_images_finished", "Images that reached an end", labels=["status"])
        finished.add_metric(["succeeded"], totals.completed - totals.failed - totals.cancelled)
        finished.add_metric(["failed"], totals.failed)
        finished.add_metric(["cancelled"], totals.cancelled)
        yield finished

    def _queues(self) -> Metric:
        family = GaugeMetricFamily("tagfleet_queue_messages", "Messages on a queue", labels=["queue", "state"])
        depths = {layout.jobs_queue(pool): depth for pool, depth in _depths(self._services).items()}
        depths[layout.RESULTS_QUEUE] = self._services.backend.results.depth()
        for name, depth in depths.items():
            for state in ("visible", "in_flight", "delayed", "dead"):
                family.add_metric([name, state], getattr(depth, state))
        return family

    def _lost_lines(self) -> Metric:
        family = GaugeMetricFamily(
            "tagfleet_log_lines_dropped", "Lines of logs that could not be written", labels=["process"]
        )
        family.add_metric(["web"], telemetry.lines_dropped())
        family.add_metric(["worker"], sum(worker.log_lines_dropped for worker in self._services.fleet.workers()))
        for view in self._services.fleet.roles():
            family.add_metric([view.beat.role], view.beat.log_lines_dropped)
        return family

    def _silence(self) -> Iterator[Metric]:
        silent = GaugeMetricFamily(
            "tagfleet_silent_seconds",
            "Since the last sign of life of the collector, the controller",
            labels=["process"],
        )
        for view in self._services.fleet.roles():
            if not view.beat.ended:
                silent.add_metric([view.beat.role], round(view.silent_s, 1))
        yield silent
        lost = Counter(one.beat.pool for one in self._services.fleet.lost())
        family = GaugeMetricFamily("tagfleet_workers_lost", "Workers whose heartbeat stands still", labels=["pool"])
        for pool, count in sorted(lost.items()):
            family.add_metric([pool], count)
        yield family

    def _workers(self) -> Metric:
        family = GaugeMetricFamily("tagfleet_workers", "Workers alive", labels=["pool", "state"])
        counts = Counter((worker.pool, worker.state.value) for worker in self._services.fleet.workers())
        for (pool, state), count in sorted(counts.items()):
            family.add_metric([pool, state], count)
        return family
