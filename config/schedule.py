"""Parses schedules of workers that are kept up whatever the load: `mon-fri 08:00-18:00 2; sat 10:00-14:00 1`. Pure.

A window is days, `HH:MM-HH:MM` and a number of workers; `;` separates windows. Days are `daily`, or names and ranges of
them: `mon`, `mon-fri`, `sat,sun`, `fri-mon`. A window that ends before it begins ends on the day after. If several
windows apply at once, the largest number counts. Times are local: on the night when clocks go forward a window may be
shorter or disappear, and when they go back it is longer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY_MINUTES = 24 * 60
_MINUTE_S = 60.0
_TIMES = re.compile(r"(\d\d):(\d\d)-(\d\d):(\d\d)")


@dataclass(frozen=True, slots=True)
class Window:
    """`begins` and `ends` are minutes of the day; `days` are the days on which it begins, 0 for Monday."""

    days: frozenset[int]
    begins: int
    ends: int
    workers: int

    def holds(self, day: int, minute: int) -> bool:
        if self.begins < self.ends:
            return day in self.days and self.begins <= minute < self.ends
        return (day in self.days and minute >= self.begins) or ((day - 1) % 7 in self.days and minute < self.ends)


@dataclass(frozen=True, slots=True)
class Schedule:
    windows: tuple[Window, ...] = ()
    zone: tzinfo = UTC

    def floor(self, at: float, ahead_s: float = 0.0) -> int:
        """Return the most workers scheduled at any time between `at`, in Unix seconds, and `ahead_s` later."""
        if not self.windows:
            return 0
        whole = int(ahead_s // _MINUTE_S)
        moments = [*(at + _MINUTE_S * number for number in range(whole + 1)), at + ahead_s]
        return max(self._floor_at(moment) for moment in moments)

    def _floor_at(self, at: float) -> int:
        local = datetime.fromtimestamp(at, self.zone)
        day, minute = local.weekday(), local.hour * 60 + local.minute
        return max((window.workers for window in self.windows if window.holds(day, minute)), default=0)


def schedule(text: str, zone: tzinfo = UTC) -> Schedule:
    """Parse a schedule. Raises ValueError, whose text is one line and names the window and its wrong part."""
    return Schedule(tuple(_window(part.strip()) for part in text.split(";") if part.strip()), zone)


def time_zone(name: str) -> tzinfo:
    """Return the time zone. Raises ValueError. UTC needs no time zone database."""
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError):  # a folder, a path out of the database, an unknown name
        raise ValueError(
            f"this machine does not know the time zone {name!r}; use a name such as Europe/Berlin, or UTC"
        ) from None


def _window(text: str) -> Window:
    parts = text.lower().split()
    if len(parts) != 3:
        raise ValueError(f"{text!r} is not a window of days, times and workers, such as `mon-fri 08:00-18:00 2`")
    days, times, workers = parts
    found = _TIMES.fullmatch(times)
    if found is None:
        raise ValueError(f"{times!r} in {text!r}: times are HH:MM-HH:MM, such as 08:00-18:00")
    begins, ends = (_minute(hour, minute, text) for hour, minute in (found.group(1, 2), found.group(3, 4)))
    if begins in (ends, _DAY_MINUTES):
        raise ValueError(f"{times!r} in {text!r} is empty; a whole day is 00:00-24:00")
    if not (workers.isascii() and workers.isdigit()):
        raise ValueError(f"{workers!r} in {text!r}: how many workers is a whole number")
    return Window(_days(days, text), begins, ends, int(workers))


def _minute(hour: str, minute: str, text: str) -> int:
    found = int(hour) * 60 + int(minute)
    if int(minute) > 59 or found > _DAY_MINUTES:
        raise ValueError(f"'{hour}:{minute}' in {text!r}: a day's times are 00:00 to 24:00")
    return found


def _days(text: str, window: str) -> frozenset[int]:
    if text == "daily":
        return frozenset(range(7))
    found: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in DAYS or (last or first) not in DAYS or part.endswith("-"):
            raise ValueError(f"{part!r} in {window!r}: days are {', '.join(DAYS)}, ranges of them, or daily")
        begin = DAYS.index(first)
        length = (DAYS.index(last or first) - begin) % 7
        found |= {(begin + number) % 7 for number in range(length + 1)}
    return frozenset(found)
