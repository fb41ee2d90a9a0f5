"""The shape of a pool's day: how many images came in each quarter of an hour of the last two days. Pure.

A slot is told by its number since 1970, so yesterday's is 96 before it, and what is asked for is that one or nothing. A
clock that jumps writes slots that nobody asks for; each replaces one of two days before, and reality replaces it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

SLOT_S = 900.0
_DAY = round(86_400 / SLOT_S)
_KEPT = 2 * _DAY
_SEEN = 0.5
"""Of a slot: whoever watched for less does not know its rate."""
_JUMP_S = 60.0
"""By so much more or less than the time that passed the wall clock may move in one step."""


@dataclass(frozen=True, slots=True)
class Slot:
    number: int
    images: float = 0.0
    watched_s: float = 0.0

    @property
    def rate(self) -> float | None:
        """Images/s; None where too little of the slot was seen."""
        return max(0.0, self.images) / self.watched_s if self.watched_s >= _SEEN * SLOT_S else None


class Shape:
    """Of one pool. It is told of every step, and asked how much came a day ago."""

    def __init__(self, slots: Iterable[Slot] = ()) -> None:
        self._ring = {slot.number % _KEPT: slot for slot in slots}
        self._open: Slot | None = None
        self._at: float | None = None

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Those that are over, in their order."""
        return tuple(sorted(self._ring.values(), key=lambda slot: slot.number))

    def remember(self, slots: Iterable[Slot]) -> None:
        """Take in what was kept before; what was seen since stands over it."""
        for slot in slots:
            self._ring.setdefault(slot.number % _KEPT, slot)

    def note(self, at: float, elapsed_s: float, arrived: float) -> bool:
        """So many images came in the last `elapsed_s`, and the wall clock says `at`; whether a slot came to its end.

        The slot in which the clock jumps, or the machine slept, is not counted: nobody knows when its images came.
        """
        number = int(at // SLOT_S)
        jumped = self._at is not None and abs(at - self._at - elapsed_s) > _JUMP_S
        self._at = at
        if jumped:
            self._open = Slot(number)
            return False
        closed = self._open is not None and self._open.number != number and self._close(self._open)
        if self._open is None or self._open.number != number:
            self._open = Slot(number)
        self._open = replace(self._open, images=self._open.images + arrived, watched_s=self._open.watched_s + elapsed_s)
        return closed

    def a_day_before(self, at: float, ahead_s: float) -> float:
        """The most images/s that came in any slot from a day before `at` until a day before `ahead_s` later."""
        first, last = int(at // SLOT_S) - _DAY, int((at + ahead_s) // SLOT_S) - _DAY
        slots = (self._ring.get(number % _KEPT) for number in range(first, min(last, first + _DAY - 1) + 1))
        rates = (slot.rate for number, slot in enumerate(slots, first) if slot is not None and slot.number == number)
        return max((rate for rate in rates if rate is not None), default=0.0)

    def _close(self, slot: Slot) -> bool:
        """One that was seen for longer before a clock went back is the better one."""
        there = self._ring.get(slot.number % _KEPT)
        if there is not None and there.number == slot.number and there.watched_s > slot.watched_s:
            return False
        self._ring[slot.number % _KEPT] = slot
        return True
