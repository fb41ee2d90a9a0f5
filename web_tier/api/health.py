"""Health checks and metrics for monitoring."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response

from web_tier.api.schemas.fleet import HealthOut
from web_tier.http.problems import Refused
from web_tier.http.routes import Answer, Resource
from web_tier.services import readiness
from web_tier.services.container import Services
from web_tier.services.metrics import CONTENT_TYPE, expose


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
        answer=Answer(
            {"text/plain": {"schema": {"type": "string"}, "example": "tagfleet_batches 3.0\n"}},
            description="Prometheus' text format",
        ),
        errors={503: "The store, a queue or the catalogue does not answer"},
    )
    def metrics() -> Response:
        """Get metrics for Prometheus"""
        return Response(expose(services), content_type=CONTENT_TYPE)

    return health.blueprint
