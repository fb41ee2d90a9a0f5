"""Sends messages into a queue that may accept only some of them, and on the next try only the rest."""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import PartialSend
from core.storage.ports import Queue


class Sending:
    """Messages on their way into a queue; `left` are those that it has not accepted yet."""

    def __init__(self, queue: Queue, bodies: Sequence[str]) -> None:
        self._queue = queue
        self.left = list(bodies)

    def step(self) -> None:
        """Send what is left. Raises PartialSend if some of it still is, Unavailable; then call it again."""
        if not self.left:
            return
        try:
            self._queue.send(self.left)
        except PartialSend as error:
            self.left = [self.left[index] for index in error.unsent]
            raise
        self.left = []
