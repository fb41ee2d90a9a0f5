"""What operators do to the fleet: pause, drain, redrive; and its last hour."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import Response

from core.dead_letters import looked_at
from core.errors import BadMessage
from core.messages import decode_job
from core.ports import Delivery
from core.telemetry import logger
from web_tier.bodies import json_body
from web_tier.catalog_samples import SampleCatalog
from web_tier.fleet_schemas import (
    DeadLettersOut,
    DeadLettersQuery,
    DrainOut,
    HistoryOut,
    HistoryQuery,
    PauseOut,
    RedriveOut,
    RedriveRequest,
)
from web_tier.parts import Parts
from web_tier.present import answer
from web_tier.problems import Refused


def blueprint(own: Parts) -> APIBlueprint:
    api = APIBlueprint("operators", __name__, tag="fleet")
    samples = SampleCatalog(own.database)

    @api.post("/fleet/pause")
    @api.output(PauseOut)
    def pause_fleet() -> Response:
        """Leave the fleet as it is

        The controller launches and drains no worker until the fleet is resumed. Workers that run go on working;
        those that are lost are ended, and not replaced.
        """
        own.backend.roster.pause()
        logger().info("the fleet was paused")
        return answer({"paused": True})

    @api.post("/fleet/resume")
    @api.output(PauseOut)
    def resume_fleet() -> Response:
        """End a pause"""
        own.backend.roster.resume()
        logger().info("the fleet was resumed")
        return answer({"paused": False})

    @api.post("/fleet/workers/<worker_id>/drain")
    @api.output(DrainOut, status_code=202)
    @api.doc(responses={404: "No such worker is alive"})
    def drain_worker(worker_id: str) -> Response:
        """Let a worker finish what it holds and end

        Where the work needs it, the controller launches another one in its place.
        """
        if worker_id not in {worker.worker_id for worker in own.fleet.workers()}:
            raise Refused(404, f"there is no live worker {worker_id[:80]!r}; GET /api/v1/fleet lists them")
        own.backend.roster.wish_drain(worker_id)
        logger().info("a worker was asked to drain", worker=worker_id)
        return answer({"worker_id": worker_id}, 202)

    @api.get("/fleet/dead-letters")
    @api.input(DeadLettersQuery, location="query")
    @api.output(DeadLettersOut)
    def list_dead_letters(query_data: DeadLettersQuery) -> Response:
        """List jobs that workers gave up on, and leave them where they are"""
        found = []
        for pool in own.settings.pools:
            with looked_at(own.jobs(pool), query_data.limit) as letters:
                found += [_letter(pool, letter) for letter in letters]
        return answer({"dead_letters": found})

    @api.post("/fleet/dead-letters/redrive")
    @api.output(RedriveOut)
    @api.doc(responses={422: "No such pool"})
    def redrive_dead_letters() -> Response:
        """Send jobs that were given up back into their queue

        Each is tried again from its first attempt on. Its image stays failed until then; its result takes the
        place of the failure.
        """
        wanted = json_body(RedriveRequest).pool
        if wanted is not None and wanted not in own.settings.pools:
            known = ", ".join(own.settings.pools)
            raise Refused(422, f"pool: there is no {wanted[:80]!r}; there are {known}", errors={"pool": ["unknown"]})
        count = 0
        for queue in (own.jobs(pool) for pool in own.settings.pools if wanted in (None, pool)):
            if dead := queue.depth().dead:
                count += queue.redrive(dead)
        logger().info("dead letters were sent back", count=count)
        return answer({"redriven": count})

    @api.get("/fleet/history")
    @api.input(HistoryQuery, location="query")
    @api.output(HistoryOut)
    def get_fleet_history(query_data: HistoryQuery) -> Response:
        """The last hour of the fleet, and the controller's last hundred changes of mind"""
        decisions = own.backend.roster.history().records
        return answer(
            {
                "samples": [sample.model_dump() for sample in samples.after(query_data.after, own.clock())],
                "decisions": [one.model_dump(mode="json") for one in decisions if one.at > query_data.after],
            }
        )

    return api


def _letter(pool: str, letter: Delivery) -> dict[str, object]:
    try:
        job = decode_job(letter.body)
        said = {"batch_id": job.batch_id, "image_id": job.image_id, "name": job.name}
    except BadMessage as error:
        said = {"batch_id": "", "image_id": "", "name": str(error)}
    return {"pool": pool, **said, "received": letter.receive_count, "sent_at": letter.sent_at}
