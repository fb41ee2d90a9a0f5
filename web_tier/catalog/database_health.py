"""Remember why the database cannot be used at present, for a health check that must not wait for the database."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from enum import StrEnum

from core.errors import Unavailable

_RECHECK_S = 1.0


class Fault(StrEnum):
    """A kind of failure. Its text is for a health check, which strangers may read."""

    REFUSED = "refused"
    """Only this statement failed: a lock, a time-out, a full disk."""
    LOST = "its database does not answer"
    READ_ONLY = "its database takes no writes"
    MOVED = "its database was moved"


class DatabaseHealth:
    """Learns from every transaction how it went. `check` asks the database, and raises Unavailable."""

    def __init__(self, check: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._check = check
        self._clock = clock
        self._fault: Fault | None = None
        self._asking = threading.Lock()
        self._asked_at = float("-inf")

    @property
    def trouble(self) -> str:
        """The present problem, as a clause; empty if there is none."""
        return self._fault or ""

    def record_failure(self, fault: Fault) -> None:
        """Remember the fault, unless it concerns one statement only."""
        if fault is not Fault.REFUSED:
            self._fault = fault

    def record_success(self, *, writes: bool) -> None:
        """Clear the fault. A successful read does not clear READ_ONLY and MOVED."""
        if writes or self._fault not in (Fault.READ_ONLY, Fault.MOVED):
            self._fault = None

    def recheck(self) -> None:
        """While something is wrong, ask the database in a thread, once a second at most."""
        if self._fault is None or not self._asking.acquire(blocking=False):
            return
        if self._clock() - self._asked_at < _RECHECK_S:
            self._asking.release()
            return
        threading.Thread(target=self._ask, name="database health", daemon=True).start()

    def _ask(self) -> None:
        try:
            self._check()
        except Unavailable:
            pass  # `check` has called `record_failure`
        finally:
            self._asked_at = self._clock()
            self._asking.release()
