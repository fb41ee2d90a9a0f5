"""Remembers why the catalogue's database cannot be used at present, for a health check that must not wait for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import StrEnum

from core.errors import Unavailable

_AGAIN_S = 1.0


class Fault(StrEnum):
    """What kind of failure it is; the text is for a health check, which strangers may read."""

    REFUSED = "refused"
    """The statement, for a reason of its own: a lock, a time-out, a full disk."""
    LOST = "its database does not answer"
    READ_ONLY = "its database takes no writes"


class DatabaseHealth:
    """Told by every transaction how it went. `check` asks the database, and raises Unavailable."""

    def __init__(self, check: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._check = check
        self._clock = clock
        self._fault: Fault | None = None
        self._asking = threading.Lock()
        self._asked_at = float("-inf")

    @property
    def trouble(self) -> str:
        """What is wrong, in a clause; empty while nothing is."""
        return self._fault or ""

    def failed(self, fault: Fault) -> None:
        if fault is not Fault.REFUSED:
            self._fault = fault

    def went_well(self, *, writes: bool) -> None:
        """A read says nothing of a database that takes no writes."""
        if writes or self._fault is not Fault.READ_ONLY:
            self._fault = None

    def ask_again(self) -> None:
        """Have the database asked in a thread, at most once a second, while something is wrong."""
        if self._fault is None or not self._asking.acquire(blocking=False):
            return
        if self._clock() - self._asked_at < _AGAIN_S:
            self._asking.release()
            return
        threading.Thread(target=self._ask, name="database health", daemon=True).start()

    def _ask(self) -> None:
        try:
            self._check()
        except Unavailable:
            pass  # `failed` has heard of it
        finally:
            self._asked_at = self._clock()
            self._asking.release()
