"""The choice of connections to close when there are too many."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from web_tier.server.connections import Connections


@dataclass(eq=False)
class Fake:
    address: str | None
    idle: bool = True
    checked: list[float] = field(default_factory=list)
    evicted: bool = False

    def evict(self) -> None:
        self.evicted = True

    def check(self, now: float) -> None:
        self.checked.append(now)


class Table(Connections):
    def __init__(self, *, total: int = 100, per_address: int = 3) -> None:
        self.now = 0.0
        super().__init__(total=total, per_address=per_address, clock=lambda: self.now)

    def take(self, connection: Fake) -> Fake:
        self.now += 1
        assert self.add(connection)
        return connection


def gone(connections: list[Fake]) -> list[int]:
    return [number for number, one in enumerate(connections) if one.evicted]


def test_an_address_with_too_many_loses_those_that_have_waited_longest():
    table = Table()
    ours = [table.take(Fake("a")) for _ in range(6)]
    other = [table.take(Fake("b")) for _ in range(3)]
    table.now += 10
    table.sweep()
    assert gone(ours) == [0, 1, 2]
    assert gone(other) == []


def test_silent_ones_go_before_those_that_send_something():
    table = Table()
    ours = [table.take(Fake("a", idle=number > 1)) for number in range(6)]
    table.now += 10
    table.sweep()
    assert gone(ours) == [2, 3, 4]


def test_those_that_are_being_answered_are_not_counted():
    table = Table()
    streams = [table.take(Fake("a", idle=False)) for _ in range(50)]
    for stream in streams:
        table.work(stream)
    waiting = [table.take(Fake("a")) for _ in range(3)]
    table.now += 10
    table.sweep()
    assert gone(streams + waiting) == []


def test_a_burst_is_let_be_until_its_requests_can_have_come():
    table = Table()
    burst = [Fake("a") for _ in range(20)]
    assert all(table.add(one) for one in burst)
    table.now += 1
    table.sweep()
    assert gone(burst) == []
    table.now += 5
    table.sweep()
    assert len(gone(burst)) == 17


def test_a_trusted_proxy_may_hold_as_many_as_it_likes():
    table = Table()
    ours = [table.take(Fake(None)) for _ in range(50)]
    table.now += 10
    table.sweep()
    assert gone(ours) == []


def test_when_all_is_full_the_address_with_most_makes_room():
    table = Table(total=5, per_address=5)
    greedy = [table.take(Fake("greedy")) for _ in range(4)]
    modest = table.take(Fake("modest"))
    table.take(Fake("new"))
    assert gone(greedy) == [0]
    assert not modest.evicted


def test_when_all_are_being_answered_a_new_one_is_turned_away():
    table = Table(total=3)
    for _ in range(3):
        table.work(table.take(Fake("a")))
    assert not table.add(Fake("b"))


@given(st.lists(st.tuples(st.sampled_from(["add", "wait", "work", "remove", "sweep"]), st.integers(0, 7)), max_size=60))
def test_after_a_sweep_nobody_has_more_waiting_than_may_be(steps):
    table = Table(total=6, per_address=2)
    all_ = [Fake(address) for address in ("a", "a", "a", "a", "b", "b", "c", None)]
    waiting: set[int] = set()
    for what, number in steps:
        one = all_[number]
        table.now += 1
        if what == "add" and not one.evicted and number not in waiting:
            if table.add(one):
                waiting.add(number)
        elif what == "wait" and not one.evicted:
            table.wait(one)
        elif what == "work":
            table.work(one)
        elif what == "remove":
            table.remove(one)
        elif what == "sweep":
            table.now += 10
            table.sweep()
            for address in ("a", "b", "c"):
                counted = table._waiting.get(address, {})
                assert len(counted) <= 2
                assert not any(one.evicted for one in counted)
