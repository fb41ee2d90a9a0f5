"""Dead letters: list the jobs that were delivered too often, and redrive them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flask import Blueprint

from core.domain.notifications import preview_message
from core.errors import BadMessage
from core.fleet.dead_letters import peek_dead_letters
from core.storage.ports import Delivery
from core.telemetry import logger
from web_tier.api.schemas.fleet import DeadLettersOut, DeadLettersQuery, RedriveOut, RedriveRequest
from web_tier.http.problems import Refused
from web_tier.http.routes import Resource
from web_tier.services.container import Services


def blueprint(services: Services) -> Blueprint:
    dead_letters = Resource("dead_letters", tag="fleet")

    @dead_letters.route("GET /fleet/dead-letters", scope="operate", query=DeadLettersQuery, answer=DeadLettersOut)
    def list_dead_letters(query: DeadLettersQuery) -> dict[str, Any]:
        """List jobs that workers gave up, and leave them where they are

        `received` counts deliveries to workers; listing adds none. Of each pool the oldest come first. On AWS there is
        one page, as SQS has no request that lists: raise `limit` to see more.
        """
        positions = _positions(query.cursor, services.settings.pools)
        pages = {pool: peek_dead_letters(services.jobs(pool), query.limit, after) for pool, after in positions.items()}
        return {
            "dead_letters": [_serialize(pool, letter) for pool, page in pages.items() for letter in page],
            "next_cursor": _next_cursor(pages, query.limit),
        }

    @dead_letters.route(
        "POST /fleet/dead-letters/redrive",
        scope="operate",
        body=RedriveRequest,
        answer=RedriveOut,
        errors={422: "No such pool"},
    )
    def redrive_dead_letters(body: RedriveRequest) -> dict[str, Any]:
        """Send dead letters back to their queue

        Each job starts again with its first attempt. Its image stays failed until its result replaces the failure.
        """
        pools = services.settings.pools
        if body.pool is not None and body.pool not in pools:
            detail = f"pool: there is no {body.pool[:80]!r}; there are {', '.join(pools)}"
            raise Refused(422, detail, errors={"pool": ["unknown"]})
        count = 0
        for queue in (services.jobs(pool) for pool in pools if body.pool in (None, pool)):
            if dead := queue.depth().dead:
                count += queue.redrive(dead)
        logger().info("dead letters were sent back", count=count)
        return {"redriven": count}

    return dead_letters.blueprint


def _positions(cursor: str | None, pools: Iterable[str]) -> dict[str, str]:
    """Return where to continue, by pool: at the start of all without a cursor. Pools that are gone are left out."""
    if cursor is None:
        return dict.fromkeys(pools, "")
    positions = dict(part.split(":") for part in cursor.split(","))
    return {pool: positions[pool] for pool in pools if pool in positions}


def _next_cursor(pages: Mapping[str, Sequence[Delivery]], limit: int) -> str | None:
    """Return the pools with more letters, each with the position of its last one: POOL:POSITION,…"""
    last = {pool: page[-1].position for pool, page in pages.items() if len(page) == limit}
    return ",".join(f"{pool}:{position}" for pool, position in last.items() if position) or None


def _serialize(pool: str, letter: Delivery) -> dict[str, object]:
    try:
        job = preview_message(letter.body)
        ids = {"batch_id": job.batch_id, "image_id": job.image_id, "name": job.name}
    except BadMessage as error:
        ids = {"batch_id": "", "image_id": "", "name": str(error)}
    return {"pool": pool, **ids, "received": letter.receive_count, "sent_at": letter.sent_at}
