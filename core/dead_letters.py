"""Dead letters, for people to look at: what they say, and where they stay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from core.ports import Delivery, Queue

_WAIT_S = 1.0
"""A receive of SQS that does not wait asks some of its servers only, and may find none of a few letters."""


@contextmanager
def looked_at(queue: Queue, limit: int) -> Iterator[list[Delivery]]:
    """Up to `limit` dead letters of a queue of jobs, as many as are counted, given back at the end.

    A kill in between costs nothing but the visibility timeout. Those that somebody else looks at now are left out.
    """
    letters: list[Delivery] = []
    dead, most = queue.dead_letters(), min(limit, queue.depth().dead)
    try:
        while len(letters) < most and (more := dead.receive(most - len(letters), _WAIT_S)):
            letters.extend(more)
        yield letters
    finally:
        dead.set_visibility(letters, 0)
