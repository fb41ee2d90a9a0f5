"""The fleet: its state, its last hour, and what operators order (pause, cap, drain)."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from flask import Blueprint

from core.fleet import orders
from core.telemetry import logger
from web_tier.api.schemas.fleet import (
    CapOut,
    CapRequest,
    DrainOut,
    FleetOut,
    HistoryOut,
    HistoryQuery,
    PauseOut,
)
from web_tier.catalog.samples import SampleCatalog
from web_tier.http.problems import Refused
from web_tier.http.routes import Answer, Resource
from web_tier.services import readiness
from web_tier.services.container import Services


def blueprint(services: Services) -> Blueprint:
    fleet = Resource("fleet", tag="fleet")
    _declare_state(fleet, services)
    _declare_orders(fleet, services)
    return fleet.blueprint


def _declare_state(fleet: Resource, services: Services) -> None:
    samples = SampleCatalog(services.database)

    @fleet.route("GET /fleet", scope="read", answer=FleetOut)
    def get_fleet() -> dict[str, Any]:
        """Get queues, workers and the controller's latest decisions

        `cap` limits the workers of all pools together. `stalled` lists the parts that make no progress
        although they have work, as `/readyz` does.
        """
        roster = services.backend.roster
        return {
            "queues": {pool: asdict(services.jobs(pool).depth()) for pool in services.settings.pools},
            "workers": [worker.model_dump(mode="json") for worker in services.fleet.workers()],
            "stalled": [asdict(part) for part in readiness.stalled(services)],
            "pools": [status.model_dump(mode="json") for status in roster.pools()],
            "decisions": [decision.model_dump(mode="json") for decision in roster.decisions()],
            "paused": roster.paused(),
            **_cap(services),
        }

    @fleet.route("GET /fleet/history", scope="read", query=HistoryQuery, answer=HistoryOut)
    def get_fleet_history(query: HistoryQuery) -> dict[str, Any]:
        """Get the fleet's last hour, the controller's last hundred changes of decision, and what happened to workers"""
        roster = services.backend.roster
        decisions, changes = roster.past_decisions(), roster.events()
        return {
            "samples": [sample.model_dump() for sample in samples.after(query.after, services.clock())],
            "decisions": [decision.model_dump(mode="json") for decision in decisions if decision.at > query.after],
            "changes": [change.model_dump(mode="json") for change in changes if change.at > query.after],
        }


def _declare_orders(fleet: Resource, services: Services) -> None:
    roster = services.backend.roster

    @fleet.route("POST /fleet/pause", scope="operate", answer=PauseOut)
    def pause_fleet() -> dict[str, Any]:
        """Pause the fleet

        The controller launches and drains no worker until the fleet is resumed. Running workers keep working; lost
        ones are ended and not replaced.
        """
        roster.pause()
        logger().info("the fleet was paused")
        return {"paused": True}

    @fleet.route("POST /fleet/resume", scope="operate", answer=PauseOut)
    def resume_fleet() -> dict[str, Any]:
        """Resume the fleet after a pause"""
        roster.resume()
        logger().info("the fleet was resumed")
        return {"paused": False}

    @fleet.route("PUT /fleet/cap", scope="operate", body=CapRequest, answer=CapOut)
    def set_fleet_cap(body: CapRequest) -> dict[str, Any]:
        """Limit the number of workers

        Replaces `controller.max_workers`, for all pools together, from the controller's next tick on. If more are
        running, idle ones are drained first, and busy ones finish the images they hold.
        """
        wanted = body.max_workers
        orders.set_max_workers(roster, wanted)
        logger().info("the fleet's cap was set", max_workers="default" if wanted is None else wanted)
        return _cap(services)

    @fleet.route(
        "POST /fleet/workers/<worker_id>/drain",
        scope="operate",
        answer=Answer(DrainOut, 202),
        errors={404: "No such worker is alive"},
    )
    def drain_worker(worker_id: str) -> dict[str, Any]:
        """Drain a worker: it finishes the images it holds and ends

        If its work needs a worker, the controller launches another one in its place.
        """
        try:
            orders.request_drain(roster, worker_id, {worker.worker_id for worker in services.fleet.workers()})
        except orders.NoSuchWorker as error:
            raise Refused(404, str(error)) from None
        logger().info("a worker was asked to drain", worker=worker_id)
        return {"worker_id": worker_id}


def _cap(services: Services) -> dict[str, Any]:
    cap, source = orders.get_cap(services.backend.roster, services.settings.controller.max_workers)
    return {"cap": cap, "cap_source": source}
