"""Repeats steps while something is unavailable, and keeps what the worker waits for, for its heartbeat."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable
from typing import TypeVar

from core import telemetry
from core.errors import Unavailable
from core.storage.ports import Queue
from core.storage.sending import Sending
from core.util.backoff import compute_backoff

T = TypeVar("T")

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 5.0


class Health:
    """The problems that keep a worker waiting. Safe for several threads.

    Each part of the worker sets and clears its own problem. So one part's success does not hide another's problem.
    """

    def __init__(self) -> None:
        self._problems: dict[object, str] = {}
        self._lock = threading.Lock()

    @property
    def notice(self) -> str:
        """The latest problem. Empty if there is none."""
        with self._lock:
            return next(reversed(self._problems.values()), "")

    def set(self, part: object, problem: str) -> None:
        """Set the problem of one part. An empty one clears it."""
        with self._lock:
            if problem:
                self._problems[part] = problem
            else:
                self._problems.pop(part, None)


class Retrier:
    """Calls steps again, with growing pauses, while they raise Unavailable. It reports that to `health`."""

    def __init__(self, stop: threading.Event, health: Health) -> None:
        self._stop = stop
        self._health = health

    def call(self, step: Callable[[], T], tries: int | None = None) -> T:
        """Return the step's result.

        Raises the last Unavailable after `tries` (None: no limit), or once this worker is told to stop.
        """
        this_call: object | None = None
        try:
            for attempt in itertools.count():
                try:
                    return step()
                except Unavailable as error:
                    if not self._health.notice:
                        telemetry.logger().warning("waiting for something that is unavailable", why=str(error))
                    this_call = this_call or object()
                    self._health.set(this_call, str(error))
                    pause = compute_backoff(attempt, base_s=_FIRST_PAUSE_S, cap_s=_LONGEST_PAUSE_S)
                    if attempt + 1 == tries or self._stop.wait(pause):
                        raise
        finally:
            if this_call is not None:
                self._health.set(this_call, "")
        raise AssertionError  # count() has no end


def send_all(queue: Queue, bodies: list[str], retrier: Retrier) -> None:
    """Send the messages until the queue has accepted all of them. Raises Unavailable once this worker must stop."""
    retrier.call(Sending(queue, bodies).step)
