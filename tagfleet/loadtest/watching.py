"""Looks at the fleet while the photos are under way, as anybody could over the API, and listens to the batches."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from tagfleet.client import BadAnswer, Batch, Client, ClientError, Denied, Disconnected, Item
from tagfleet.loadtest.errors import LoadTestError
from tagfleet.loadtest.record import Boot, Sample
from tagfleet.loadtest.sending import Book, Clock

LOOK_S = 0.5
_NEWS_S = 3.0  # what a heartbeat and the service's own second of patience take to show here
_READY = ("idle", "busy")


def sample(fleet: dict[str, Any], at: float) -> Sample:
    """Raises KeyError, TypeError, AttributeError where this is no Tagfleet's answer."""
    queues = fleet["queues"].values()
    return Sample(
        at=at,
        waiting=sum(queue["visible"] + queue["delayed"] for queue in queues),
        in_flight=sum(queue["in_flight"] for queue in queues),
        workers=dict(Counter(worker["state"] for worker in fleet["workers"])),
    )


def wait_for_no_worker(client: Client, within_s: float, say: Callable[[str], None]) -> None:
    """Raises LoadTestError where workers remain, ClientError where the fleet may not be looked at."""
    deadline = time.monotonic() + within_s
    while workers := client.fleet()["workers"]:
        left = deadline - time.monotonic()
        if left < 0:
            raise LoadTestError(
                f"after {within_s:.0f} s there are still {len(workers)} workers: a test from cold needs a fleet that "
                "nobody else uses, and that shrinks to zero (controller.idle_keep_s)"
            )
        say(f"waiting for {len(workers)} workers to end, up to {left:.0f} s")
        time.sleep(LOOK_S)


class Watcher(threading.Thread):
    """Takes a sample every half second, and notes the workers that came up."""

    def __init__(self, client: Client, clock: Clock) -> None:
        super().__init__(name="watcher", daemon=True)
        self._client = client
        self._clock = clock
        self._done = threading.Event()
        self._boots: dict[str, Boot] = {}
        self._there: set[str] | None = None
        self._seen: set[str] = set()
        self.samples: list[Sample] = []
        self.notice = ""

    @property
    def boots(self) -> list[Boot]:
        return list(self._boots.values())

    def run(self) -> None:
        try:
            while not self._done.is_set():
                self._look()
                self._done.wait(LOOK_S)
            ended = self._clock()
            while not self._knows_all() and self._clock() < ended + _NEWS_S:
                time.sleep(LOOK_S)
                self._look()
        except Denied:
            self.notice = "the fleet was not watched: that needs a key of the scope operate"
        except ClientError as error:
            self.notice = f"the fleet was not watched any longer: {error}"

    def _look(self) -> None:
        """Raises ClientError."""
        fleet = self._client.fleet()
        try:
            self.samples.append(sample(fleet, self._clock()))
            self._note(fleet["workers"])
        except (KeyError, TypeError, AttributeError) as error:
            raise BadAnswer(f"{self._client.url} told of its fleet in words that are not known: {error!r}") from None

    def end(self) -> None:
        self._done.set()
        self.join()

    def _knows_all(self) -> bool:
        """Whether there are workers, and how each of them came up is known."""
        return bool(self._seen) and self._seen <= (self._there or set()) | self._boots.keys()

    def _note(self, workers: list[dict[str, Any]]) -> None:
        if self._there is None:
            self._there = {worker["worker_id"] for worker in workers if worker["state"] in _READY}
        self._seen |= {worker["worker_id"] for worker in workers}
        for worker in workers:
            if worker["boot"] and worker["worker_id"] not in self._there:
                self._boots[worker["worker_id"]] = Boot(worker_id=worker["worker_id"], phases=worker["boot"])


class Listener(threading.Thread):
    """Follows one batch by its event stream, as the page does, and enters each photo's end into the book."""

    def __init__(self, client: Client, batch: Batch, book: Book) -> None:
        super().__init__(name=f"listener-{batch.id}", daemon=True)
        self._client = client
        self._batch = batch
        self._book = book
        self.notice = ""

    def run(self) -> None:
        try:
            for item in self._client.stream(self._batch):
                self._book.tagged(item.name, _problem(item))
        except Disconnected:
            self.notice = f"the test ended before all tags of {self._batch.id} were here"
        except ClientError as error:
            self.notice = f"the tags of {self._batch.id} were not received to the end: {error}"


def _problem(item: Item) -> str | None:
    if item.status == "succeeded":
        return None
    return f"{item.status}: {(item.error or 'no reason given').replace(item.name, 'it')}"
