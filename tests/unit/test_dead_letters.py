"""Dead letters that are looked at, in a queue that behaves as SQS does."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from core.dead_letters import looked_at
from core.ports import Delivery, Depth


class Sampled:
    """A receive that does not wait asks some of the queue's servers only: here none that has a letter."""

    def __init__(self, *bodies: str) -> None:
        self.waiting = [Delivery(body, f"receipt of {body}", 6, 0.0) for body in bodies]
        self.asked = 0
        self.given_back: list[str] = []

    def depth(self) -> Depth:
        return Depth(visible=0, in_flight=0, delayed=0, dead=len(self.waiting), read_at=0.0)

    def dead_letters(self) -> Any:
        return self

    def receive(self, limit: int, wait_s: float) -> list[Delivery]:
        self.asked += 1
        found = self.waiting[: min(limit, 2)] if wait_s else []
        self.waiting = self.waiting[len(found) :]
        return found

    def set_visibility(self, deliveries: Sequence[Delivery], seconds: float) -> None:
        assert seconds == 0
        self.given_back += [delivery.body for delivery in deliveries]


def test_a_few_letters_are_found() -> None:
    queue: Any = Sampled("a", "b", "c")
    with looked_at(queue, 10) as letters:
        assert [letter.body for letter in letters] == ["a", "b", "c"]
    assert queue.given_back == ["a", "b", "c"]


def test_where_there_are_none_nobody_waits_for_them() -> None:
    queue: Any = Sampled()
    with looked_at(queue, 10) as letters:
        assert letters == []
    assert queue.asked == 0
