"""Groups results, so that each request is full where requests cost money.

1. Results that are sent to a queue wait a moment for others, ten to a request.
2. Results of bulk runs wait longer for more: a whole group becomes one object of the store.
3. Where requests cost nothing, nothing waits.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

from app_tier.pipeline.in_flight import InFlight
from app_tier.pipeline.result_writer import FinishedItem
from core.storage import packs

MAX_WAIT_S = 2.0
"""How long a result waits for others to share its requests. At 5 images/s it fills them."""
MAX_PACK_WAIT_S = 10.0
"""How long a result waits for others to share its pack. At 20 images/s they fill it."""
PACK_IDLE_S = 1.0
"""With nothing else in flight, a pack waits this long for new images. One receive from the queue takes as long."""
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class GroupRule:
    """When a group of results is given out: at this size, this age (s), or once none has come for `idle_s` seconds
    while no other image is in flight.
    """

    size: int
    max_wait_s: float
    idle_s: float = 0.0


class ResultBatcher:
    """Takes results, and gives them out in groups. A group is to be sent, or to be packed, never both.

    Where `per_request` is 1, requests cost nothing, and a group is all that waits. While `draining` is set, nothing
    waits. `put` blocks while `limit` results wait, or two full packs: that is the back-pressure on the stages before.
    """

    def __init__(
        self,
        in_flight: InFlight,
        *,
        per_request: int,
        limit: int,
        draining: threading.Event,
        send: GroupRule | None = None,
        pack: GroupRule | None = None,
    ) -> None:
        send = send or GroupRule(per_request, MAX_WAIT_S)
        pack = pack or GroupRule(packs.MAX_RESULTS, MAX_PACK_WAIT_S, PACK_IDLE_S)
        if per_request == 1:
            free = GroupRule(1, 0.0)
            send = pack = free
        self._in_flight = in_flight
        self._draining = draining
        self._is_free = per_request == 1
        self._to_pack = _Lane(pack, max(limit, 2 * pack.size))
        self._to_send = _Lane(send, max(limit, send.size))
        self._writing = 0
        self._closed = False
        self._changed = threading.Condition()

    def put(self, group: Sequence[FinishedItem]) -> None:
        """Add results."""
        self._in_flight.mark_finished([item.delivery for item in group])
        for lane, packed in ((self._to_send, False), (self._to_pack, True)):
            if own := [item for item in group if item.pack == packed]:
                self._put(lane, own)

    def _put(self, lane: _Lane, group: Sequence[FinishedItem]) -> None:
        with self._changed:
            self._changed.wait_for(lambda: lane.has_room)
            lane.add(group, time.monotonic())
            self._changed.notify_all()

    def next(self) -> list[FinishedItem]:
        """Wait for the next group; its writer reports it by `mark_written`. Empty once this is closed."""
        with self._changed:
            while (lane := self._due()) is None:
                waiting = self._to_send.waiting or self._to_pack.waiting
                if self._closed and not waiting:
                    return []
                # InFlight and the drain request do not notify this of changes, so they are polled.
                self._changed.wait(_POLL_S if waiting else None)
            group = lane.take(all_=self._is_free)
            self._writing += len(group)
            self._changed.notify_all()
            return group

    def mark_written(self, group: Sequence[FinishedItem]) -> None:
        """Report that a group of `next` is written, or was released."""
        with self._changed:
            self._writing -= len(group)
            self._changed.notify_all()

    def wait_until_written(self, timeout_s: float) -> bool:
        """Wait until no group is being written. Return whether it is so after `timeout_s`."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._writing, timeout_s)

    def close(self) -> None:
        """Give out what waits, then nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _due(self) -> _Lane | None:
        now = time.monotonic()
        hurry = self._closed or self._draining.is_set()
        for lane in (self._to_send, self._to_pack):
            if lane.waiting and (hurry or lane.is_due(now, lambda: self._in_flight.unfinished > 0)):
                return lane
        return None


@dataclass(slots=True)
class _Lane:
    """Results of one kind that wait, oldest first."""

    rule: GroupRule
    limit: int
    waiting: deque[tuple[float, FinishedItem]] = field(default_factory=deque)

    @property
    def has_room(self) -> bool:
        return len(self.waiting) < self.limit

    def add(self, group: Iterable[FinishedItem], now: float) -> None:
        self.waiting.extend((now, item) for item in group)

    def take(self, *, all_: bool) -> list[FinishedItem]:
        count = len(self.waiting) if all_ else min(len(self.waiting), self.rule.size)
        return [self.waiting.popleft()[1] for _ in range(count)]

    def is_due(self, now: float, others_may_join: Callable[[], bool]) -> bool:
        if len(self.waiting) >= self.rule.size or now - self.waiting[0][0] >= self.rule.max_wait_s:
            return True
        return now - self.waiting[-1][0] >= self.rule.idle_s and not others_may_join()
