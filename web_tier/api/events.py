"""Follow a batch by server-sent events; a stream resumes where the last one broke off.

1. An event's id is a change number of the batch.
2. A reader who comes back with the last id it saw gets every image that changed since, in its current state, and none
   twice.
3. A reader who only counts (`items=false`) gets the batch, and no images.
4. The server's event loop drives a stream (`EventStream`); a server without one gives it a thread.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from flask import Blueprint, Response, request

from core.errors import Unavailable
from web_tier.api.schemas.batches import EventsQuery
from web_tier.catalog.batches import NoSuchBatch
from web_tier.http.authentication import Authenticator
from web_tier.http.problems import Refused
from web_tier.http.request_parsing import Header
from web_tier.http.routes import Answer, Resource
from web_tier.server.streams import OFFER, EventStream
from web_tier.services.container import Services
from web_tier.services.event_feeds import BatchState

POLL_S = 0.15
PING_S = 15.0
_RETRY_MS = 1000
_EVENT_STREAM = "text/event-stream"
_EXAMPLE = 'id: 41\nevent: item\ndata: {"image_id":"img_01mcc5rm00h8zqk4w2v6na"}\n\n'


def blueprint(services: Services, authenticator: Authenticator) -> Blueprint:
    events = Resource("events", tag="batches")
    seats = services.host.streams

    @events.route(
        "GET /batches/<batch_id>/events",
        scope="read",
        query=EventsQuery,
        headers=(Header("Last-Event-ID", "The id of the last event that the reader saw"),),
        answer=Answer(
            {_EVENT_STREAM: {"schema": {"type": "string"}, "example": _EXAMPLE}},
            description="Events: `item` (its id resumes the stream), `batch`, and `completed`, which ends it",
        ),
        errors={503: "Too many streams are open"},
    )
    def follow_batch(batch_id: str, query: EventsQuery) -> Response:
        """Follow a batch by server-sent events

        Starts with what is there, or after the id in Last-Event-ID (or last_event_id); ends after `completed`. With
        `items=false` it has only the batch itself, whenever that changes.
        """
        after = _last_event_id(query)
        services.catalog.read_change(batch_id)  # a batch that doesn't exist is a 404 and not an empty stream
        if not seats.take():
            raise Refused(503, "Too many event streams are open; close some.", headers={"Retry-After": "5"})
        events = batch_events(services, batch_id, after if query.items else None, key_ended=authenticator.key_ended())
        offer: list[EventStream] | None = request.environ.get(OFFER)
        if offer is None:
            response = Response(follow(events), mimetype=_EVENT_STREAM)
        else:
            offer.append(EventStream(batch_id, events))
            response = Response(iter(()), mimetype=_EVENT_STREAM)
        response.call_on_close(seats.give_back)
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Accel-Buffering"] = "no"
        return response

    return events.blueprint


def batch_events(
    services: Services,
    batch_id: str,
    after: int | None,
    *,
    key_ended: Callable[[], bool] = lambda: False,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[bytes]:
    """Yield the events beyond the change number `after`, and b"" whenever there is nothing to send for the moment.

    Without a number it yields no images, only the batch.
    Ends with the batch, with the process, and when the reader's key has ended. `clock` is monotonic, in seconds.
    """
    yield b"retry: %d\n\n" % _RETRY_MS
    sent: BatchState | None = None
    sent_at = clock()
    with services.event_feeds.of(batch_id) as feed:
        while not services.stopping():
            try:
                if key_ended():
                    return  # a reader who comes back is asked for a live key
                state = feed.latest(clock())
                if state is not sent:
                    while after is not None and (burst := feed.after(after, state)):
                        after = burst.last
                        yield burst.events
                    sent, sent_at = state, clock()
                    yield state.event
                if state.ended:
                    yield state.ended
                    return
            except NoSuchBatch:
                return  # it was deleted; a reader who comes back gets a 404
            except Unavailable:
                yield b": the catalogue does not answer\n\n"
                return  # the reader comes back with its last id
            if clock() - sent_at >= PING_S:
                sent_at = clock()
                yield b": ping\n\n"
            yield b""


def follow(events: Iterator[bytes], pause: Callable[[float], None] = time.sleep) -> Iterator[bytes]:
    """Yield the events in a thread of their own, for servers that take no EventStream."""
    for sent in events:
        if sent:
            yield sent
        else:
            pause(POLL_S)


def _last_event_id(query: EventsQuery) -> int:
    given = request.headers.get("Last-Event-ID", "")
    if given.isascii() and given.isdigit() and len(given) < 19:
        return int(given)
    return query.last_event_id or 0
