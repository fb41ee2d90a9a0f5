"""Let a request wait for its result, as RFC 7240 describes it (`Prefer: wait=SECONDS`)."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from flask import request
from werkzeug.http import parse_dict_header

from web_tier.http.request_parsing import Header

_MAX_WAIT_S = 60
_POLL_S = 0.1

PREFER = Header(
    "Prefer",
    f"`wait=SECONDS`, at most {_MAX_WAIT_S}: answer when the results are there, or else after that time with what there"
    " is",
)


class PreferWait:
    """Delays answers. At most `seats` requests wait at a time, because each holds a thread; others don't wait."""

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
        """Wait for `done` as long as the request prefers; return the header that confirms it.

        Without a preference or a free seat it returns at once, with no header. It also ends when the process stops.
        """
        seconds = _preferred_wait()
        if seconds is None or not self._seats.acquire(blocking=False):
            return {}
        try:
            end = self._clock() + seconds
            while not done() and self._clock() < end and not self._stopping():
                self._pause(_POLL_S)
        finally:
            self._seats.release()
        return {"Preference-Applied": f"wait={seconds}"}


def _preferred_wait() -> int | None:
    """Return seconds, or None if the request states no preference that can be read; a preference may be ignored."""
    given = parse_dict_header(", ".join(request.headers.getlist("Prefer"))).get("wait") or ""
    if not (given.isascii() and given.isdigit()):
        return None
    return min(int(given[:9]), _MAX_WAIT_S)
