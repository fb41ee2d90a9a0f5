"""What operators do to the fleet: pause, cap, drain; and its last hour."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import Response

from core.fleet import operating
from core.telemetry import logger
from web_tier.api.schemas.fleet import CapOut, CapRequest, DrainOut, HistoryOut, HistoryQuery, PauseOut
from web_tier.catalog.samples import SampleCatalog
from web_tier.http.problems import Refused
from web_tier.http.request_parsing import json_body
from web_tier.http.responses import json_response
from web_tier.services.container import Services


def blueprint(services: Services) -> APIBlueprint:
    api = APIBlueprint("operators", __name__, tag="fleet")
    samples = SampleCatalog(services.database)

    @api.post("/fleet/pause")
    @api.output(PauseOut)
    def pause_fleet() -> Response:
        """Leave the fleet as it is

        The controller launches and drains no worker until the fleet is resumed. Workers that run go on working;
        those that are lost are ended, and not replaced.
        """
        services.backend.roster.pause()
        logger().info("the fleet was paused")
        return json_response({"paused": True})

    @api.post("/fleet/resume")
    @api.output(PauseOut)
    def resume_fleet() -> Response:
        """End a pause"""
        services.backend.roster.resume()
        logger().info("the fleet was resumed")
        return json_response({"paused": False})

    @api.put("/fleet/cap")
    @api.output(CapOut)
    def set_fleet_cap() -> Response:
        """Set how many workers there may be

        In place of `controller.max_workers`, for all pools together, from the controller's next tick on. Where more
        run, the idle ones are drained first, and busy ones finish what they hold.
        """
        wanted = json_body(CapRequest).max_workers
        operating.limit(services.backend.roster, wanted)
        logger().info("the fleet's cap was set", max_workers="default" if wanted is None else wanted)
        cap, source = operating.cap(services.backend.roster, services.settings.controller.max_workers)
        return json_response({"cap": cap, "cap_source": source})

    @api.post("/fleet/workers/<worker_id>/drain")
    @api.output(DrainOut, status_code=202)
    @api.doc(responses={404: "No such worker is alive"})
    def drain_worker(worker_id: str) -> Response:
        """Let a worker finish what it holds and end

        Where the work needs it, the controller launches another one in its place.
        """
        try:
            operating.drain(
                services.backend.roster, worker_id, {worker.worker_id for worker in services.fleet.workers()}
            )
        except operating.NoSuchWorker as error:
            raise Refused(404, str(error)) from None
        logger().info("a worker was asked to drain", worker=worker_id)
        return json_response({"worker_id": worker_id}, 202)

    @api.get("/fleet/history")
    @api.input(HistoryQuery, location="query")
    @api.output(HistoryOut)
    def get_fleet_history(query_data: HistoryQuery) -> Response:
        """The last hour of the fleet, the controller's last hundred changes of mind, and what came of the workers"""
        decisions, changes = services.backend.roster.history().records, services.backend.roster.changes().changes
        return json_response(
            {
                "samples": [sample.model_dump() for sample in samples.after(query_data.after, services.clock())],
                "decisions": [one.model_dump(mode="json") for one in decisions if one.at > query_data.after],
                "changes": [one.model_dump(mode="json") for one in changes if one.at > query_data.after],
            }
        )

    return api
