"""Ships the output of this machine's units to a log service, up to the last line before the machine ends.

1. It saves the journal's cursor after it has sent the entries: a crash sends some entries twice and loses none.
2. systemd stops this process after the units whose logs it ships, so by then the journal has all their output.
3. After that it ships until nothing is new, but for `drain_s` at most: it must not keep the machine from ending.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, ItemsView, Sequence
from pathlib import Path
from typing import Protocol

from core.errors import Unavailable
from core.logs.journal import Entry
from core.util.atomic import PRIVATE, atomic_write
from core.util.backoff import compute_backoff

_POLL_S = 5.0
_MOST = 5_000
"""The most entries that are read at once."""
_LONGEST_PAUSE_S = 60.0
"""The longest pause between two tries while logs cannot be sent."""


class Source(Protocol):
    def after(self, cursor: str, most: int) -> Sequence[Entry]:
        """Return the next entries after `cursor`. Raises Unavailable."""


class Destination(Protocol):
    def put(self, stream: str, events: Sequence[tuple[int, str]]) -> int:
        """Store events of Unix milliseconds and message; return how many were rejected. Raises Unavailable."""


class LogShipper:
    """Ships the journal. `stream` is the prefix of each unit's stream; `cursor_file` keeps the cursor across restarts.

    `say` gets lines for people; `clock` is monotonic.
    """

    def __init__(
        self,
        source: Source,
        destination: Destination,
        stream: str,
        cursor_file: Path,
        say: Callable[[str], None],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._destination = destination
        self._stream = stream
        self._cursor_file = cursor_file
        self._say = say
        self._clock = clock
        self._cursor = _read(cursor_file)
        self._trouble = ""

    def run(self, stop: threading.Event, *, poll_s: float = _POLL_S, drain_s: float = 20.0) -> None:
        """Ship until `stop` is set, then the rest, for `drain_s` at most. Errors of the ports do not end it."""
        failures = 0
        while not stop.is_set():
            sent = self._ship_or_report()
            failures = 0 if sent is not None else failures + 1
            if sent != _MOST:
                stop.wait(compute_backoff(failures, base_s=poll_s, cap_s=_LONGEST_PAUSE_S))
        deadline = self._clock() + drain_s
        while self._clock() < deadline:
            if self._ship_or_report() == 0:
                return
            if self._trouble:
                threading.Event().wait(min(1.0, drain_s / 10))
        self._say(f"the logs left after {drain_s:g} s are not sent: {self._trouble or 'there are too many'}")

    def ship(self) -> int:
        """Send what is new. Returns the number of entries. Raises Unavailable."""
        entries = self._source.after(self._cursor, _MOST)
        rejected = 0
        for unit, events in _by_unit(entries):
            rejected += self._destination.put(f"{self._stream}/{unit}", events)
        if rejected:
            self._say(f"{rejected} log entries were rejected as too old or too new; is this machine's clock right?")
        if entries:
            self._cursor = entries[-1].cursor
            atomic_write(self._cursor_file, self._cursor, mode=PRIVATE, make_parents=True)
        return len(entries)

    def _ship_or_report(self) -> int | None:
        """Call `ship`; return None if it fails, and report each cause once."""
        try:
            sent = self.ship()
        except (Unavailable, OSError) as error:
            if str(error) != self._trouble:
                self._say(f"logs wait on this machine: {error}")
            self._trouble = str(error)
            return None
        if self._trouble:
            self._say("logs are sent again")
        self._trouble = ""
        return sent


def _by_unit(entries: Sequence[Entry]) -> ItemsView[str, list[tuple[int, str]]]:
    streams: dict[str, list[tuple[int, str]]] = {}
    for entry in entries:
        streams.setdefault(entry.unit, []).append((entry.at_ms, entry.message))
    return streams.items()


def _read(file: Path) -> str:
    """Return the saved cursor; "" without one, so that shipping begins with this boot."""
    try:
        return file.read_text().strip()
    except (OSError, ValueError):
        return ""
