"""The choice of connections to close when there are too many."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from config import settings as config
from web_tier.server.connections import Connections
from web_tier.server.host import Host

WEB = config.load({}).web


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
    def __init__(self, *, total: int = 100, most: int = 100, per_address: int = 3, host: Host | None = None) -> None:
        self.now = 0.0
        host = host or Host.create(WEB)
        super().__init__(total=total, most=most, per_address=per_address, host=host, clock=lambda: self.now)

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


class Hosted:
    """The tables of two processes of one host. Whichever works is the process, as far as their memory knows."""

    def __init__(self, **limits: int) -> None:
        self.host = Host.create(WEB.model_copy(update={"processes": 2}))
        self.tables = [Table(**limits, host=self.host) for _ in range(2)]

    def process(self, slot: int) -> Table:
        self.host.memory.enter(slot)
        return self.tables[slot]

    def take(self, slot: int, count: int, address: str = "a") -> list[Fake]:
        return [self.process(slot).take(Fake(address)) for _ in range(count)]

    def sweep(self, times: int = 1) -> None:
        for _ in range(times):
            for slot in (0, 1):
                self.process(slot).now += 10
                self.process(slot).sweep()

    @property
    def waiting(self) -> int:
        return sum(len(table._waiting.get("a", {})) for table in self.tables)


@given(st.integers(0, 40), st.integers(0, 40), st.integers(1, 30))
def test_two_processes_leave_an_address_as_many_as_one(first, second, limit):
    """Each closes its part, the oldest first, whatever the split."""
    hosted = Hosted(per_address=limit, total=1000, most=1000)
    ours = [hosted.take(0, first), hosted.take(1, second)]
    hosted.sweep(20)
    assert hosted.waiting == min(first + second, limit)
    for fakes in ours:
        assert gone(fakes) == list(range(len(gone(fakes))))


def test_an_address_within_its_limit_loses_none_however_uneven_the_processes():
    hosted = Hosted(per_address=10, total=1000)
    ours = [*hosted.take(0, 9), *hosted.take(1, 1)]
    hosted.sweep(5)
    assert gone(ours) == []


def test_what_a_dead_process_counted_does_not_count():
    hosted = Hosted(per_address=10, total=1000)
    hosted.take(0, 10)
    ours = hosted.take(1, 10)
    hosted.process(0).sweep()
    hosted.host.memory.clear(0)
    hosted.process(1).now += 10
    hosted.process(1).sweep()
    assert gone(ours) == []


def test_a_process_beyond_its_part_takes_a_new_one_for_an_old_one():
    hosted = Hosted(per_address=100, total=10)
    first, *_ = hosted.take(0, 7)
    hosted.take(1, 3)
    assert hosted.process(0).add(Fake("b"))
    assert first.evicted
    for connection in list(hosted.tables[0]._all):
        hosted.process(0).work(connection)
    assert not hosted.process(0).add(Fake("b")), "all of this process are being answered"


def test_who_fills_one_process_keeps_nobody_from_another():
    hosted = Hosted(per_address=100, total=10)
    greedy = hosted.take(0, 10)
    modest = hosted.take(1, 4, "b")
    hosted.sweep()
    assert gone(greedy) == [0, 1, 2, 3]
    assert gone(modest) == []


def test_a_process_has_no_more_connections_than_its_open_files_allow():
    table = Table(total=100, most=3)
    ours = [table.take(Fake("a")) for _ in range(3)]
    assert table.add(Fake("b"))
    assert gone(ours) == [0]


def test_a_sweep_waits_for_no_other_process():
    """Another one may have been stopped in the middle of its exchange; deadlines are checked all the same."""
    hosted = Hosted(per_address=1, total=10)
    ours = hosted.take(0, 3)
    with hosted.host.waiting._lock:
        hosted.process(0).now += 10
        hosted.process(0).sweep()
    assert gone(ours) == []
    assert all(one.checked for one in ours)
