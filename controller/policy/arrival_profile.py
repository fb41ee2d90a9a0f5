"""The arrival profile of a pool: how many images came in each quarter of an hour of the last two days.

Slots are numbered since 1970, so yesterday's slot is 96 before today's. A wrong clock fills slots with wrong numbers.
Each replaces the slot with the same number modulo two days, until a right slot replaces it in turn.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

SLOT_S = 900.0
_DAY = round(86_400 / SLOT_S)
_KEPT = 2 * _DAY
_MIN_WATCHED = 0.5
"""Share of a slot that must have been watched before its rate is known."""
_JUMP_S = 60.0
"""The wall clock has jumped when it differs from the elapsed time by more than this in one step."""


@dataclass(frozen=True, slots=True)
class Slot:
    number: int
    images: float = 0.0
    watched_s: float = 0.0

    @property
    def rate(self) -> float | None:
        """Images/s; None where too little of the slot was watched."""
        return max(0.0, self.images) / self.watched_s if self.watched_s >= _MIN_WATCHED * SLOT_S else None


class ArrivalProfile:
    """The profile of one pool. `add` records each tick; `find_peak_rate` returns the rate of a day ago."""

    def __init__(self, slots: Iterable[Slot] = ()) -> None:
        self._ring = {slot.number % _KEPT: slot for slot in slots}
        self._open: Slot | None = None
        self._at: float | None = None

    @property
    def slots(self) -> tuple[Slot, ...]:
        """The closed slots, in order."""
        return tuple(sorted(self._ring.values(), key=lambda slot: slot.number))

    def restore(self, slots: Iterable[Slot]) -> None:
        """Add stored slots. The profile's own slots take precedence."""
        for slot in slots:
            self._ring.setdefault(slot.number % _KEPT, slot)

    def add(self, at: float, elapsed_s: float, arrived: float) -> bool:
        """Add the images of the last `elapsed_s`, at Unix time `at`; return whether a slot ended.

        A slot in which the clock jumped or the machine slept is dropped: nobody knows when its images came.
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

    def find_peak_rate(self, at: float, ahead_s: float) -> float:
        """Return the highest images/s of any slot between one day before `at` and one day before `at + ahead_s`."""
        first, last = int(at // SLOT_S) - _DAY, int((at + ahead_s) // SLOT_S) - _DAY
        slots = (self._ring.get(number % _KEPT) for number in range(first, min(last, first + _DAY - 1) + 1))
        rates = (slot.rate for number, slot in enumerate(slots, first) if slot is not None and slot.number == number)
        return max((rate for rate in rates if rate is not None), default=0.0)

    def _close(self, slot: Slot) -> bool:
        """Keep the slot, unless the same one was watched for longer before the clock went back."""
        before = self._ring.get(slot.number % _KEPT)
        if before is not None and before.number == slot.number and before.watched_s > slot.watched_s:
            return False
        self._ring[slot.number % _KEPT] = slot
        return True
