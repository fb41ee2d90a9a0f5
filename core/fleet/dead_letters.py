"""Dead letters for people to look at: what they say, without taking them."""

from __future__ import annotations

from core.storage.ports import Delivery, Queue


def peek_dead_letters(queue: Queue, limit: int) -> list[Delivery]:
    """Return up to `limit` dead letters of a queue of jobs, and leave them where and as they are.

    `receive_count` is what it was when the letter died, however often it was read since. Raises Unavailable.
    """
    most = min(limit, queue.depth().dead)
    return queue.dead_letters().peek(most) if most else []
