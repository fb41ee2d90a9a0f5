"""Watch the fleet and the batches during a test, over the public API."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from tagfleet.client import BadAnswer, Batch, Client, ClientError, Denied, Disconnected, Item
from tagfleet.loadtest.plan import LoadTestError
from tagfleet.loadtest.record import Boot, Sample
from tagfleet.loadtest.sending import Clock, PhotoLog

SAMPLE_EVERY_S = 0.5
_NEWS_S = 3.0  # time for a heartbeat and the service's cache of a second to show up in /fleet
_READY = ("idle", "busy")


def to_sample(fleet: dict[str, Any], at: float) -> Sample:
    """Parse an answer of /fleet. Raises KeyError, TypeError, AttributeError if it is not Tagfleet's."""
    queues = fleet["queues"].values()
    return Sample(
        at=at,
        waiting=sum(queue["visible"] + queue["delayed"] for queue in queues),
        in_flight=sum(queue["in_flight"] for queue in queues),
        workers=dict(Counter(worker["state"] for worker in fleet["workers"])),
    )


def wait_for_no_worker(client: Client, within_s: float, say: Callable[[str], None]) -> None:
    """Wait until no worker is left. Raises LoadTestError if some remain, ClientError if the fleet is unreadable."""
    deadline = time.monotonic() + within_s
    while workers := client.fleet()["workers"]:
        left = deadline - time.monotonic()
        if left < 0:
            raise LoadTestError(
                f"{len(workers)} workers are still running after {within_s:.0f} s: a cold start needs a fleet that "
                "nobody else uses and that shrinks to zero (controller.idle_keep_s)"
            )
        say(f"waiting for {len(workers)} workers to end, up to {left:.0f} s")
        time.sleep(SAMPLE_EVERY_S)


class Watcher(threading.Thread):
    """Takes a sample every half second and records workers that start."""

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
                self._take_sample()
                self._done.wait(SAMPLE_EVERY_S)
            ended = self._clock()
            while not self._knows_all() and self._clock() < ended + _NEWS_S:
                time.sleep(SAMPLE_EVERY_S)
                self._take_sample()
        except Denied:
            self.notice = "the fleet was not watched: that needs a key with the scope operate"
        except ClientError as error:
            self.notice = f"watching the fleet ended early: {error}"

    def _take_sample(self) -> None:
        """Raises ClientError."""
        fleet = self._client.fleet()
        try:
            self.samples.append(to_sample(fleet, self._clock()))
            self._record_boots(fleet["workers"])
        except (KeyError, TypeError, AttributeError) as error:
            raise BadAnswer(f"{self._client.url} described its fleet in an unknown form: {error!r}") from None

    def end(self) -> None:
        self._done.set()
        self.join()

    def _knows_all(self) -> bool:
        """Return whether there are workers, and the boot of each new one is known."""
        return bool(self._seen) and self._seen <= (self._there or set()) | self._boots.keys()

    def _record_boots(self, workers: list[dict[str, Any]]) -> None:
        if self._there is None:
            self._there = {worker["worker_id"] for worker in workers if worker["state"] in _READY}
        self._seen |= {worker["worker_id"] for worker in workers}
        for worker in workers:
            if worker["boot"] and worker["worker_id"] not in self._there:
                self._boots[worker["worker_id"]] = Boot(worker_id=worker["worker_id"], phases=worker["boot"])


class Listener(threading.Thread):
    """Follows one batch by its event stream, as the page does, and records the outcome of each photo."""

    def __init__(self, client: Client, batch: Batch, log: PhotoLog) -> None:
        super().__init__(name=f"listener-{batch.id}", daemon=True)
        self._client = client
        self._batch = batch
        self._log = log
        self.notice = ""

    def run(self) -> None:
        try:
            for item in self._client.stream(self._batch):
                self._log.tagged(item.name, _problem(item))
        except Disconnected:
            self.notice = f"the test ended before all tags of {self._batch.id} had arrived"
        except ClientError as error:
            self.notice = f"receiving the tags of {self._batch.id} ended early: {error}"


def _problem(item: Item) -> str | None:
    if item.status == "succeeded":
        return None
    return f"{item.status}: {(item.error or 'no reason given').replace(item.name, 'it')}"
