"""Jobs are sent in full requests, several at once; an error is reported, and what a queue refuses is sent again."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import pytest

from core.domain.messages import decode_job
from core.errors import PartialSend, Unavailable
from core.storage import packs
from core.storage.memory import MemoryStore
from tagfleet.bulk.jobs import send_jobs
from tagfleet.bulk.state import RunFile, RunState

URIS = [f"s3://photos/{number:04}.jpg" for number in range(200)]


class Requests:
    """A queue that keeps its requests, and answers none before `at_once` are under way."""

    per_request = 10

    def __init__(self, at_once: int = 1, errors: Sequence[Exception] = ()) -> None:
        self.sent: list[list[str]] = []
        self._together = threading.Barrier(at_once)
        self._errors = list(errors)

    def send(self, bodies: Sequence[str]) -> None:
        if self._errors:
            raise self._errors.pop()
        self._together.wait(60)
        self.sent.append(list(bodies))


def send(queue: Any) -> set[int]:
    file = RunFile(MemoryStore(), "run_x", RunState(listing="l", pool="p"), lambda: 1.0)
    accepted: set[int] = set()
    send_jobs(queue, file, 3, URIS, range(50, 200), accepted, lambda: 2.0)
    return accepted


def test_requests_are_full_and_under_way_together() -> None:
    queue = Requests(at_once=15)
    assert send(queue) == set(range(50, 200))
    assert {len(bodies) for bodies in queue.sent} == {10}
    jobs = sorted((decode_job(body) for bodies in queue.sent for body in bodies), key=lambda job: job.image_id)
    assert [(job.image_id, job.key, job.store_only, job.pack) for job in jobs] == [
        (packs.image_id(3, at), URIS[at], True, True) for at in range(50, 200)
    ]


def test_where_requests_are_free_all_is_sent_at_once() -> None:
    queue = Requests()
    queue.per_request = 1
    assert send(queue) == set(range(50, 200))
    assert [len(bodies) for bodies in queue.sent] == [150]


def test_what_a_queue_refuses_is_sent_again() -> None:
    queue = Requests(errors=[PartialSend("jobs", [3, 7])])
    send(queue)
    assert sorted(map(len, queue.sent)) == [2, *[10] * 14]


def test_an_error_is_raised() -> None:
    with pytest.raises(Unavailable, match="no answer"):
        send(Requests(errors=[Unavailable("no answer")]))
