"""What a worker says it waits for stays true for as long as it waits."""

from __future__ import annotations

import threading

from app_tier.pipeline.result_writer import Trouble
from bench.deployment import wait_until
from core.errors import Unavailable


def test_one_parts_success_does_not_hide_anothers_trouble() -> None:
    trouble, mended = Trouble(threading.Event()), threading.Event()

    def store() -> str:
        if not mended.is_set():
            raise Unavailable("the disk is full")
        return "stored"

    waiting = threading.Thread(target=trouble.ride_out, args=(store,))
    waiting.start()
    wait_until(lambda: trouble.notice == "the disk is full")
    assert trouble.ride_out(lambda: "received") == "received"
    assert trouble.notice == "the disk is full"
    mended.set()
    waiting.join(60)
    assert trouble.notice == ""


def test_the_latest_trouble_is_told_and_the_earlier_one_again_after_it() -> None:
    trouble = Trouble(threading.Event())
    trouble.stands("roster", "the store is away")
    trouble.stands("feedback", "what was learned is damaged")
    assert trouble.notice == "what was learned is damaged"
    trouble.stands("feedback", "")
    trouble.stands("feedback", "")
    assert trouble.notice == "the store is away"


def test_giving_up_leaves_no_notice_behind() -> None:
    stop = threading.Event()
    trouble = Trouble(stop)
    stop.set()

    def away() -> None:
        raise Unavailable("the queue is away")

    try:
        trouble.ride_out(away)
    except Unavailable:
        assert trouble.notice == ""
    else:
        raise AssertionError("it was told to stop")
