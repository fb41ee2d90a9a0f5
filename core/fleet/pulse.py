"""Heartbeats of the collector and the controller.

1. A thread writes to the roster every few seconds that the process lives, which step its main loop is at, and since
   when. So a reader can distinguish a long step (a large batch, slow answers of AWS), a stopped process, and a process
   whose main loop hangs.
2. The parent process gets beats too, over a pipe or by systemd's watchdog, even while the store cannot be written: a
   full disk does not justify a restart. Only a main loop that hangs stops these beats.
"""

from __future__ import annotations

import os
import socket
import stat
import threading
import time
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from types import TracebackType

from core import telemetry
from core.domain.ids import new_id
from core.errors import Unavailable
from core.fleet.roster import Role, RoleBeat, Roster

VARIABLE = "TAGFLEET_PULSE"
"""Names the write end of a pipe. Each byte in it is one beat."""
BEATS = 3
"""A process that misses this many beats counts as stopped."""
HANGS = 20
"""A step that takes this many times the allowed silence counts as hanging."""


class Pulse:
    """Beats within a `with` block. `silent_after_s` is how long readers wait for a beat; `wall` gives Unix seconds."""

    def __init__(
        self,
        role: Role,
        roster: Roster,
        silent_after_s: float,
        *,
        environ: MutableMapping[str, str],
        wall: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._role = role
        self._roster = roster
        self._every_s = silent_after_s / BEATS
        self._hangs_s = silent_after_s * HANGS
        self._listeners = _listeners(environ)
        self._wall = wall
        self._clock = clock
        self._id = new_id("prc")
        self._seq = 0
        self._step = ("start", clock(), self._hangs_s)
        self._over = threading.Event()
        self._silent = False
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def step(self, name: str, *, limited: bool = True) -> None:
        """Report that the main loop begins a step, with a time limit if `limited`. Cheap: call it in each turn."""
        self._step = (name, self._clock(), self._hangs_s if limited else 0.0)

    def __enter__(self) -> Pulse:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join(self._every_s)
        self._beat(ended=kind is None)

    def _run(self) -> None:
        while not self._over.is_set():
            _, since, limit_s = self._step
            if not limit_s or self._clock() - since < limit_s:
                for beat in self._listeners:
                    with suppress(OSError):  # the listener is gone, or the pipe is full of beats
                        beat()
            self._beat()
            self._over.wait(self._every_s)

    def _beat(self, *, ended: bool = False) -> None:
        step, since, limit_s = self._step
        self._seq += 1
        beat = RoleBeat(
            role=self._role,
            id=self._id,
            seq=self._seq,
            at=self._wall(),
            step=step,
            step_s=round(self._clock() - since, 1),
            limit_s=limit_s,
            ended=ended,
            log_lines_dropped=telemetry.lines_dropped(),
        )
        try:
            self._roster.beat_role(beat)
            self._silent = False
        except Unavailable as error:
            if not self._silent:
                telemetry.logger().warning("the heartbeat is not written", why=str(error))
            self._silent = True


def _listeners(environ: MutableMapping[str, str]) -> list[Callable[[], object]]:
    """Return a function for each listener that sends it one beat: the pipe of `VARIABLE`, systemd's watchdog.

    Removes their variables from `environ`, as they are meant for this process alone.
    """
    found: list[Callable[[], object]] = []
    with suppress(ValueError, OverflowError, OSError):
        fd = int(environ.pop(VARIABLE, ""))
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            os.set_blocking(fd, False)
            os.set_inheritable(fd, False)
            found.append(lambda: os.write(fd, b"."))
    address, watched = environ.pop("NOTIFY_SOCKET", ""), environ.pop("WATCHDOG_USEC", "")
    if address[:1] in ("/", "@") and watched:
        found.append(lambda: _notify(address))
    return found


def _notify(address: str) -> None:
    """Send systemd's watchdog a beat, as sd_notify(3) does. A leading `@` means the abstract namespace."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as speaker:
        speaker.connect("\0" + address[1:] if address[0] == "@" else address)
        speaker.send(b"WATCHDOG=1")
