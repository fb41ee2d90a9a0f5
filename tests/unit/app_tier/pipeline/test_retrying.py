"""Retries, and the notice about what a worker waits for."""

from __future__ import annotations

import threading

import pytest

from app_tier.pipeline import retrying
from app_tier.pipeline.retrying import Health, Retrier, send_all
from bench.deployment import wait_until
from core.errors import PartialSend, Unavailable


def test_one_parts_success_does_not_hide_anothers_problem() -> None:
    health, mended = Health(), threading.Event()
    retrier = Retrier(threading.Event(), health)

    def store() -> str:
        if not mended.is_set():
            raise Unavailable("the disk is full")
        return "stored"

    waiting = threading.Thread(target=retrier.call, args=(store,))
    waiting.start()
    wait_until(lambda: health.notice == "the disk is full")
    assert retrier.call(lambda: "received") == "received"
    assert health.notice == "the disk is full"
    mended.set()
    waiting.join(60)
    assert health.notice == ""


def test_the_latest_problem_is_shown_and_the_earlier_one_after_it() -> None:
    health = Health()
    health.set("roster", "the store is away")
    health.set("feedback", "what was learned is damaged")
    assert health.notice == "what was learned is damaged"
    health.set("feedback", "")
    health.set("feedback", "")
    assert health.notice == "the store is away"


def test_giving_up_leaves_no_notice_behind() -> None:
    stop, health = threading.Event(), Health()
    stop.set()

    def away() -> None:
        raise Unavailable("the queue is away")

    with pytest.raises(Unavailable):
        Retrier(stop, health).call(away)
    assert health.notice == ""


class Partial:
    """A queue that takes every second message."""

    def __init__(self) -> None:
        self.sent: list[str] = []

    def send(self, bodies: list[str]) -> None:
        self.sent += bodies[::2]
        if bodies[1:]:
            raise PartialSend("jobs", list(range(1, len(bodies), 2)))


def test_messages_that_are_not_accepted_are_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "_FIRST_PAUSE_S", 0.0)
    queue = Partial()
    send_all(queue, list("abcde"), Retrier(threading.Event(), Health()))  # type: ignore[arg-type]
    assert sorted(queue.sent) == list("abcde")
