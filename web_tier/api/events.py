"""A batch as a stream of server-sent events, which resumes where the last one broke off.

An event's id is a change number of the batch. A reader who comes back with the last one it saw gets every image that
changed since, as it is now, and none twice.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from apiflask import APIBlueprint
from flask import Response, request

from core.errors import Unavailable
from web_tier.api.schemas.batches import EventsQuery
from web_tier.catalog.batches import NoSuchBatch
from web_tier.http import authentication as access
from web_tier.http.problems import Refused
from web_tier.server.streams import OFFER, EventStream
from web_tier.services.container import Services
from web_tier.services.event_feeds import Look

POLL_S = 0.15
PING_S = 15.0
_RETRY_MS = 1000


_RESPONSES: Any = {
    200: {
        "description": "Events: `item` (its id resumes the stream), `batch`, and `completed`, which ends it",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    503: "Too many streams are open",
}


def blueprint(services: Services) -> APIBlueprint:
    api = APIBlueprint("events", __name__, tag="batches")
    seats = threading.BoundedSemaphore(services.settings.web.streams)

    @api.get("/batches/<batch_id>/events")
    @api.input(EventsQuery, location="query")
    @api.doc(responses=_RESPONSES)
    def follow_batch(batch_id: str, query_data: EventsQuery) -> Response:
        """Follow a batch by server-sent events

        Starts with what is there, or after the id in Last-Event-ID (or last_event_id); ends after `completed`.
        """
        after = _last_event_id(query_data)
        services.catalog.change(batch_id)  # a batch that is not there is a 404, not an empty stream
        if not seats.acquire(blocking=False):
            raise Refused(503, "Too many event streams are open; close some.", headers={"Retry-After": "5"})
        told = steps(services, batch_id, after, lapsed=access.lapse_of(services))
        offer: list[EventStream] | None = request.environ.get(OFFER)
        if offer is None:
            response = Response(follow(told), mimetype="text/event-stream")
        else:
            offer.append(EventStream(batch_id, told))
            response = Response(iter(()), mimetype="text/event-stream")
        response.call_on_close(seats.release)
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Accel-Buffering"] = "no"
        return response

    return api


def steps(
    services: Services,
    batch_id: str,
    after: int,
    *,
    lapsed: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[bytes]:
    """Yield the events beyond the change number `after`, and b"" when there is nothing to tell for the moment.

    Ends with the batch, with the process and when the reader's key has `lapsed`. `clock` is monotonic, in seconds.
    """
    yield b"retry: %d\n\n" % _RETRY_MS
    shown: Look | None = None
    spoke = clock()
    with services.event_feeds.of(batch_id) as feed:
        while not services.stopping():
            try:
                if lapsed():
                    return  # a reader who comes back is asked for a key that is live
                look = feed.look(clock())
                if look is not shown:
                    while burst := feed.after(after, look):
                        after = burst.last
                        yield burst.events
                    shown, spoke = look, clock()
                    yield look.event
                if look.ended:
                    yield look.ended
                    return
            except NoSuchBatch:
                return  # deleted meanwhile; a reader who comes back is told so
            except Unavailable:
                yield b": the catalogue does not answer\n\n"
                return  # the reader comes back with its last id
            if clock() - spoke >= PING_S:
                spoke = clock()
                yield b": ping\n\n"
            yield b""


def follow(told: Iterator[bytes], pause: Callable[[float], None] = time.sleep) -> Iterator[bytes]:
    """The same events from a thread of their own, for servers that take no EventStream."""
    for events in told:
        if events:
            yield events
        else:
            pause(POLL_S)


def _last_event_id(query: EventsQuery) -> int:
    given = request.headers.get("Last-Event-ID", "")
    if given.isascii() and given.isdigit() and len(given) < 19:
        return int(given)
    return query.last_event_id or 0
