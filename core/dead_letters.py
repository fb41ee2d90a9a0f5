"""Dead letters, for people to look at: what they say, and where they stay."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from core.ports import Delivery, Queue


@contextmanager
def looked_at(queue: Queue, limit: int) -> Iterator[list[Delivery]]:
    """Up to `limit` dead letters of a queue of jobs, given back at the end.

    A kill in between costs nothing but the visibility timeout. Those that somebody else looks at now are left out.
    """
    letters: list[Delivery] = []
    dead = queue.dead_letters()
    try:
        while len(letters) < limit and (more := dead.receive(limit - len(letters), 0)):
            letters.extend(more)
        yield letters
    finally:
        dead.set_visibility(letters, 0)
