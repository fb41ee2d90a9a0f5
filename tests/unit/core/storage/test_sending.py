from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest

from core.errors import PartialSend, Unavailable
from core.storage.ports import Queue
from core.storage.sending import Sending


class Picky:
    """Takes one message of each send, and first fails `failures` times."""

    def __init__(self, failures: int = 0) -> None:
        self.failures = failures
        self.taken: list[str] = []

    def send(self, bodies: Sequence[str]) -> None:
        if self.failures:
            self.failures -= 1
            raise Unavailable("the queue does not answer")
        self.taken.append(bodies[0])
        if len(bodies) > 1:
            raise PartialSend("jobs", list(range(1, len(bodies))))


def test_each_step_sends_only_what_is_left() -> None:
    queue = Picky()
    sending = Sending(cast(Queue, queue), ["a", "b", "c"])
    for left in (["b", "c"], ["c"]):
        with pytest.raises(PartialSend):
            sending.step()
        assert sending.left == left
    sending.step()
    sending.step()
    assert (queue.taken, sending.left) == (["a", "b", "c"], [])


def test_a_queue_that_does_not_answer_loses_nothing() -> None:
    queue = Picky(failures=1)
    sending = Sending(cast(Queue, queue), ["a"])
    with pytest.raises(Unavailable):
        sending.step()
    sending.step()
    assert queue.taken == ["a"]
