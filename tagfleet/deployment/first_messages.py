"""What S3 sends to a queue when a bucket is told to notify it: a test event, for which no worker need start."""

from __future__ import annotations

from core.domain.notifications import parse_message
from core.errors import BadMessage
from core.storage.ports import Queue

_WAIT_S = 1.0  # it was sent minutes ago; SQS looks into all of its servers for who waits at all


def drop_test_events(queue: Queue) -> None:
    """Delete messages that ask for nothing; all others are given back at once. Raises Unavailable."""
    received = queue.receive(queue.per_request, _WAIT_S)
    empty = [delivery for delivery in received if not _asks(delivery.body)]
    queue.delete(empty)
    queue.set_visibility([delivery for delivery in received if delivery not in empty], 0)


def _asks(body: str) -> bool:
    """Whether there is anything in it for a worker; what cannot be read is a worker's to judge."""
    try:
        return bool(parse_message(body, ""))
    except BadMessage:
        return True
