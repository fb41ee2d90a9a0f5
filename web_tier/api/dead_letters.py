"""Jobs that workers gave up on: looked at, and sent back."""

from __future__ import annotations

from apiflask import APIBlueprint
from flask import Response

from core.domain.notifications import shown_job
from core.errors import BadMessage
from core.fleet.dead_letters import peeked
from core.storage.ports import Delivery
from core.telemetry import logger
from web_tier.api.schemas.fleet import DeadLettersOut, DeadLettersQuery, RedriveOut, RedriveRequest
from web_tier.http.problems import Refused
from web_tier.http.request_parsing import json_body
from web_tier.http.responses import json_response
from web_tier.services.container import Services


def blueprint(services: Services) -> APIBlueprint:
    api = APIBlueprint("dead_letters", __name__, tag="fleet")

    @api.get("/fleet/dead-letters")
    @api.input(DeadLettersQuery, location="query")
    @api.output(DeadLettersOut)
    def list_dead_letters(query_data: DeadLettersQuery) -> Response:
        """List jobs that workers gave up on, and leave them where they are

        `received` counts deliveries to workers; looking adds none.
        """
        found = []
        for pool in services.settings.pools:
            found += [_letter(pool, letter) for letter in peeked(services.jobs(pool), query_data.limit)]
        return json_response({"dead_letters": found})

    @api.post("/fleet/dead-letters/redrive")
    @api.output(RedriveOut)
    @api.doc(responses={422: "No such pool"})
    def redrive_dead_letters() -> Response:
        """Send jobs that were given up back into their queue

        Each is tried again from its first attempt on. Its image stays failed until then; its result takes the
        place of the failure.
        """
        wanted = json_body(RedriveRequest).pool
        if wanted is not None and wanted not in services.settings.pools:
            known = ", ".join(services.settings.pools)
            raise Refused(422, f"pool: there is no {wanted[:80]!r}; there are {known}", errors={"pool": ["unknown"]})
        count = 0
        for queue in (services.jobs(pool) for pool in services.settings.pools if wanted in (None, pool)):
            if dead := queue.depth().dead:
                count += queue.redrive(dead)
        logger().info("dead letters were sent back", count=count)
        return json_response({"redriven": count})

    return api


def _letter(pool: str, letter: Delivery) -> dict[str, object]:
    try:
        job = shown_job(letter.body)
        said = {"batch_id": job.batch_id, "image_id": job.image_id, "name": job.name}
    except BadMessage as error:
        said = {"batch_id": "", "image_id": "", "name": str(error)}
    return {"pool": pool, **said, "received": letter.receive_count, "sent_at": letter.sent_at}
