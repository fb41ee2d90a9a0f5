"""Threads share transactions: in order, prompt for one alone, each with its own result."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from core.errors import TagfleetError, Unavailable
from core.util.group_commit import GroupCommit


def until(condition) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "it never came to hold"
        time.sleep(0.001)


class Transactions:
    """Begins transactions that only count; `gate` holds each back at its beginning."""

    def __init__(self) -> None:
        self.begun: list[bool] = []
        self.committed = 0
        self.gate = threading.Event()
        self.gate.set()
        self.error: Exception | None = None

    @contextmanager
    def begin(self, durable: bool) -> Iterator[None]:
        self.begun.append(durable)
        assert self.gate.wait(120)
        if self.error is not None:
            raise self.error
        yield None
        self.committed += 1


@pytest.fixture
def transactions() -> Transactions:
    return Transactions()


@pytest.fixture
def group(transactions) -> GroupCommit:
    return GroupCommit(transactions.begin)


def together(group, transactions, *works, durable=True) -> list[object]:
    """Run the works in threads of their own, the first of which leads alone; return their results or errors."""
    found: list[object] = [None] * len(works)

    def run(number: int) -> None:
        try:
            found[number] = group.run(works[number], durable=durable)
        except Exception as error:  # noqa: BLE001  # looked at by the test
            found[number] = error

    transactions.gate.clear()
    threads = [threading.Thread(target=run, args=(number,)) for number in range(len(works))]
    for number, thread in enumerate(threads):
        thread.start()
        until(lambda number=number: group.waiting == number + 1)
    transactions.gate.set()
    for thread in threads:
        thread.join(120)
    return found


def test_one_alone_is_done_at_once(group, transactions):
    assert group.run(lambda _: 7, durable=True) == 7
    assert group.run(lambda _: 8, durable=False) == 8
    assert transactions.begun == [True, False]


def test_those_that_wait_share_a_transaction_and_keep_their_order(group, transactions):
    order: list[int] = []
    works = [lambda _, number=number: order.append(number) or number for number in range(9)]
    assert together(group, transactions, *works) == list(range(9))
    assert order == list(range(9))
    assert transactions.committed == 1


def test_one_that_is_refused_does_not_disturb_the_others(group, transactions):
    def refuse(_):
        raise TagfleetError("closed")

    first, second, third = together(group, transactions, lambda _: 1, refuse, lambda _: 3)
    assert (first, str(second), third) == (1, "closed", 3)
    assert transactions.committed == 1


def test_one_that_fails_makes_each_go_alone(group, transactions):
    calls: list[int] = []

    def fail(_):
        raise ZeroDivisionError

    found = together(group, transactions, lambda _: calls.append(1) or 1, fail, lambda _: 3)
    assert [found[0], type(found[1]), found[2]] == [1, ZeroDivisionError, 3]
    assert transactions.committed == 2
    assert group.run(lambda _: 4, durable=True) == 4


def test_a_database_that_is_away_fails_all_that_wait_at_once(group, transactions):
    transactions.error = Unavailable("locked")
    found = together(group, transactions, *[lambda _: 1] * 5)
    assert [str(error) for error in found] == ["locked"] * 5
    assert len(transactions.begun) == 1
    transactions.error = None
    assert group.run(lambda _: 2, durable=True) == 2


def test_an_error_of_the_beginning_is_raised_and_the_next_goes_on(group, transactions):
    transactions.error = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        group.run(lambda _: 1, durable=True)
    transactions.error = None
    assert group.run(lambda _: 2, durable=True) == 2


def test_a_transaction_takes_in_no_more_once_others_have_waited_long_enough(transactions):
    moments = iter(range(100))
    group = GroupCommit(transactions.begin, lambda: next(moments))
    assert together(group, transactions, *[lambda _: 1] * 4) == [1] * 4
    assert transactions.committed == 4


def test_a_group_is_durable_if_one_of_it_must_be(group, transactions):
    transactions.gate.clear()
    threads = []
    for number, durable in enumerate((False, True, False)):
        threads.append(threading.Thread(target=group.run, args=(lambda _: 1,), kwargs={"durable": durable}))
        threads[-1].start()
        until(lambda number=number: group.waiting == number + 1)
    transactions.gate.set()
    for thread in threads:
        thread.join(120)
    assert transactions.begun[0] is False, "it was begun for the first alone"
    assert transactions.begun[1:] == [True]
