"""Sends messages to a queue that may accept only some of them; the next try sends only the rest."""

from __future__ import annotations

from collections.abc import Sequence

from core.errors import PartialSend
from core.storage.ports import Queue


class Sending:
    """Messages to send to a queue; `left` are the ones that it has not accepted yet."""

    def __init__(self, queue: Queue, bodies: Sequence[str]) -> None:
        self._queue = queue
        self.left = list(bodies)

    def step(self) -> None:
        """Send what is left. Raises PartialSend if some messages were not accepted, Unavailable; then call it again."""
        if not self.left:
            return
        try:
            self._queue.send(self.left)
        except PartialSend as error:
            self.left = [self.left[index] for index in error.unsent]
            raise
        self.left = []
