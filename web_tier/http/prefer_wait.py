"""Requests that would rather wait for their answer (RFC 7240: `Prefer: wait=SECONDS`)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from flask import request
from werkzeug.http import parse_dict_header

LONGEST_S = 60
_LOOK_EVERY_S = 0.1


class Waits:
    """At most `seats` requests wait at a time, as each holds a thread; others are answered at once."""

    def __init__(
        self,
        seats: int,
        *,
        stopping: Callable[[], bool],
        clock: Callable[[], float] = time.monotonic,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self._seats = threading.BoundedSemaphore(seats)
        self._stopping = stopping
        self._clock = clock
        self._pause = pause

    def until(self, done: Callable[[], bool]) -> dict[str, str]:
        """Wait for `done` as long as the request prefers to; the answer's header that says so.

        Where no seat is free, or the request prefers nothing, there is no such header.
        """
        seconds = _preferred()
        if seconds is None or not self._seats.acquire(blocking=False):
            return {}
        try:
            end = self._clock() + seconds
            while not done() and self._clock() < end and not self._stopping():
                self._pause(_LOOK_EVERY_S)
        finally:
            self._seats.release()
        return {"Preference-Applied": f"wait={seconds}"}


def _preferred() -> int | None:
    """Seconds; None where the request does not say, or says what cannot be read, which a preference may."""
    given = parse_dict_header(", ".join(request.headers.getlist("Prefer"))).get("wait") or ""
    if not (given.isascii() and given.isdigit()):
        return None
    return min(int(given[:9]), LONGEST_S)
