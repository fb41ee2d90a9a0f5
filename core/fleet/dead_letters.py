"""Shows dead letters to people without taking them."""

from __future__ import annotations

from core.storage.ports import Delivery, Queue


def peek_dead_letters(queue: Queue, limit: int, after: str = "") -> list[Delivery]:
    """Return up to `limit` dead letters of a queue of jobs, and leave them as they are.

    `after` is the `position` of the last one of the page before. `receive_count` is the count when the letter died,
    which later reads do not change. Raises Unavailable.
    """
    most = min(limit, queue.depth().dead)
    return queue.dead_letters().peek(most, after) if most else []
