"""The end of an image's way: store the result, then send it, then acknowledge the job. In that order, always."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from app_tier.pipeline.in_flight import Held
from core import telemetry
from core.domain.messages import Job, Result, encode, encode_output
from core.errors import PartialSend, Unavailable
from core.storage import layout
from core.storage.ports import Delivery, ObjectStore, Queue
from core.storage.results import load_result

T = TypeVar("T")

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0


@dataclass(frozen=True, slots=True)
class Finished:
    delivery: Delivery
    result: Result
    stored: bool = False
    """The result was found in the store: an earlier delivery got that far."""
    store_only: bool = False
    """The result is not sent: whoever sent the job looks for it in the store."""


class Trouble:
    """Repeats what is unavailable, with growing pauses; `notice` says for the heartbeat what is waited for.

    What fails in one part of a worker stands until that part goes on, however well the others do.
    """

    def __init__(self, stop: threading.Event) -> None:
        self._stop = stop
        self._standing: dict[object, str] = {}
        self._changing = threading.Lock()

    @property
    def notice(self) -> str:
        """The latest that stands; empty if nothing does."""
        with self._changing:
            return next(reversed(self._standing.values()), "")

    def stands(self, what: object, notice: str) -> None:
        """`what` is in the way of work for this reason from now on; for an empty one, no more."""
        with self._changing:
            if notice:
                self._standing[what] = notice
            else:
                self._standing.pop(what, None)

    def ride_out(self, step: Callable[[], T], tries: int | None = None) -> T:
        """What `step` returns, once it does not raise Unavailable.

        Raises the last Unavailable after `tries` (None: no end), or as soon as this worker is told to stop.
        """
        pause = _FIRST_PAUSE_S
        mine = object()
        try:
            for attempt in itertools.count(1):
                try:
                    return step()
                except Unavailable as error:
                    if not self.notice:
                        telemetry.logger().warning("waiting for a part that is unavailable", why=str(error))
                    self.stands(mine, str(error))
                    if attempt == tries or self._stop.wait(pause):
                        raise
                    pause = min(2 * pause, _LONGEST_PAUSE_S)
        finally:
            self.stands(mine, "")
        raise AssertionError  # count() has no end


class Outbox:
    """Writes finished groups. While the store is unavailable they are held and tried again, not lost and not redone."""

    def __init__(self, store: ObjectStore, results: Queue, held: Held, trouble: Trouble) -> None:
        self._store = store
        self._results = results
        self._held = held
        self._trouble = trouble

    def deliver(self, group: Sequence[Finished]) -> bool:
        """False if this worker was told to stop before the group was safe: its messages are given back."""
        deliveries = [finished.delivery for finished in group]
        try:
            for finished in group:
                if not finished.stored:
                    self._trouble.ride_out(partial(self._put, finished.result))
            sent = [finished.result for finished in group if not finished.store_only]
            send_all(self._results, [encode_output(result, _key(result)) for result in sent], self._trouble)
            self._trouble.ride_out(lambda: self._held.acknowledge(deliveries))
        except Unavailable:
            self._held.give_back(deliveries)
            return False
        return True

    def found(self, job: Job) -> Result | None:
        """The result of this image if an earlier delivery stored it. Raises Unavailable."""
        return load_result(job, self._store)

    def _put(self, result: Result) -> None:
        self._store.put(_key(result), encode(result).encode(), content_type="application/json")


def send_all(queue: Queue, bodies: list[str], trouble: Trouble) -> None:
    """Send what was not accepted once more, until all is. Raises Unavailable when told to stop."""
    left = bodies

    def send() -> None:
        nonlocal left
        try:
            queue.send(left)
        except PartialSend as error:
            left = [left[index] for index in error.unsent]
            raise

    if left:
        trouble.ride_out(send)


def _key(result: Result) -> str:
    return layout.result_key(result.batch_id, result.image_id)
