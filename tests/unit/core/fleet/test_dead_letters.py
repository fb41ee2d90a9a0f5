"""Dead letters that people look at, in a queue of which only counts are known beforehand."""

from __future__ import annotations

from typing import Any

from core.fleet.dead_letters import peek_dead_letters
from core.storage.ports import Delivery, Depth


class Letters:
    """Its letters, and how many were asked for at each look."""

    def __init__(self, *bodies: str) -> None:
        self.waiting = [Delivery(body, "", 6, 0.0) for body in bodies]
        self.asked: list[int] = []

    def depth(self) -> Depth:
        return Depth(visible=0, in_flight=0, delayed=0, dead=len(self.waiting), read_at=0.0)

    def dead_letters(self) -> Any:
        return self

    def peek(self, limit: int, after: str = "") -> list[Delivery]:
        self.asked.append(limit)
        return self.waiting[int(after or 0) :][:limit]


def test_as_many_are_asked_for_as_there_are() -> None:
    queue: Any = Letters("a", "b", "c")
    assert [letter.body for letter in peek_dead_letters(queue, 10)] == ["a", "b", "c"]
    assert [letter.body for letter in peek_dead_letters(queue, 2)] == ["a", "b"]
    assert queue.asked == [3, 2]


def test_where_there_are_none_nobody_waits_for_them() -> None:
    queue: Any = Letters()
    assert peek_dead_letters(queue, 10) == []
    assert queue.asked == []
