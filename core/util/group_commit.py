"""Commits the writes of several threads in one transaction, for databases that take one writer at a time.

1. A thread that finds nobody writing leads: it takes the turn at once, and commits its own work. Alone it never waits.
2. Work that comes meanwhile waits. When the turn comes, its first thread leads, and runs all that waits, in order, in
   one transaction with one flush, but for no longer than other writers may be kept waiting.
3. Each work has its own result. If one is refused, it has changed nothing, and the others go on. If one fails in any
   other way, nothing is kept, and each is done again in a transaction of its own.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from core.errors import TagfleetError, Unavailable

C = TypeVar("C")
T = TypeVar("T")

_TOGETHER = 32
_HOLD_S = 0.02
"""How long a transaction takes in more work."""


@dataclass(eq=False, slots=True)
class _Work:
    run: Callable[[Any], Any]
    durable: bool
    woken: threading.Event = field(default_factory=threading.Event)
    leads: bool = False
    alone: bool = False
    """Whether it has to be done in a transaction of its own."""
    result: Any = None
    error: Exception | None = None


class GroupCommit(Generic[C]):
    """`begin` begins a transaction that is committed at the end of its block, durable or not. `clock` is monotonic."""

    def __init__(
        self,
        begin: Callable[[bool], AbstractContextManager[C]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._begin = begin
        self._clock = clock
        self._lock = threading.Lock()
        self._waiting: deque[_Work] = deque()
        self._led = False

    @property
    def waiting(self) -> int:
        """How many works wait for a transaction."""
        with self._lock:
            return len(self._waiting)

    def run(self, work: Callable[[C], T], *, durable: bool) -> T:
        """Run `work` in a transaction and return its result once that is committed.

        Work that raises a TagfleetError must not have written before. Raises that error, Unavailable, and what else
        `work` raises.
        """
        mine = _Work(work, durable)
        with self._lock:
            self._waiting.append(mine)
            mine.leads, self._led = not self._led, True
        if not mine.leads:
            mine.woken.wait()
        if mine.leads:
            try:
                self._lead(mine)
            finally:
                self._pass_on()
        if mine.alone:
            with self._begin(durable) as connection:
                return work(connection)
        if mine.error is not None:
            raise mine.error
        result: T = mine.result
        return result

    def _lead(self, mine: _Work) -> None:
        """Do the work that waits, of which `mine` is the first."""
        group: list[_Work] = []
        try:
            with self._lock:
                durable = any(work.durable for work in self._waiting)
            with self._begin(durable) as connection:
                until = self._clock() + _HOLD_S
                while (work := self._next(durable)) is not None:
                    group.append(work)
                    _do(work, connection)
                    if len(group) >= _TOGETHER or self._clock() >= until:
                        break
        except Unavailable as error:
            for work in group or self._take_all():  # if the turn did not come, it would not come to them either
                if work.error is None:
                    work.error = Unavailable(str(error))
        except BaseException as error:
            for work in group:
                work.alone = work.error is None  # whose error it is shows when each is done alone
            if not group or not isinstance(error, Exception):
                self._drop(mine)
                raise
        finally:
            for work in group:
                work.woken.set()

    def _next(self, durable: bool) -> _Work | None:
        """Take the first work that waits; None if there is none, or it needs a flush and this transaction has none."""
        with self._lock:
            if not self._waiting or (self._waiting[0].durable and not durable):
                return None
            return self._waiting.popleft()

    def _drop(self, mine: _Work) -> None:
        with self._lock:
            if mine in self._waiting:
                self._waiting.remove(mine)

    def _take_all(self) -> list[_Work]:
        with self._lock:
            taken = list(self._waiting)
            self._waiting.clear()
        for work in taken:
            work.woken.set()
        return taken

    def _pass_on(self) -> None:
        with self._lock:
            self._led = bool(self._waiting)
            if self._waiting:
                self._waiting[0].leads = True
                self._waiting[0].woken.set()


def _do(work: _Work, connection: object) -> None:
    try:
        work.result = work.run(connection)
    except Unavailable:
        raise
    except TagfleetError as error:
        work.error = error
