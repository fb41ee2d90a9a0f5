"""One child process: it runs in its own session, restarts when it dies, and ends with everything it started."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path

from core import exits
from core.fleet.pulse import VARIABLE
from core.util.backoff import compute_backoff
from tagfleet.supervisor.child_log import ChildLog
from tagfleet.supervisor.pulse_watch import PulseWatch

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0
_STEADY_S = 30.0
"""A child that ran this long has recovered: its next restart again comes after the first pause."""


class Child:
    """A command that is kept running. `parent_fd` is the read end of the pipe that closes when this process ends."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environ: Mapping[str, str],
        parent_fd: int,
        log: Path,
        stalled_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`stalled_s`: restart the child after this long without a sign of life; 0 for a child that gives none."""
        self.name = name
        self.log = ChildLog(log, name)
        self._command = list(command)
        self._environ = dict(environ)
        self._parent_fd = parent_fd
        self._clock = clock
        self._pulse = PulseWatch(stalled_s, clock) if stalled_s else None
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._failures = 0
        self._restart_at: float | None = None
        self.exit_code = 0
        """Exit code of the last process; negative if a signal killed it."""

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        """Whether the process runs. If it has died, this also kills everything that it had started."""
        if self._process is None:
            return False
        # Kill the group before reaping the leader: until then no other process can get its number.
        if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return True
        self._signal(signal.SIGKILL)
        self.exit_code = self._process.wait()
        self._process = None
        return False

    def start(self) -> None:
        """Start the process, even if its log cannot be written (`tend` reports that). Raises OSError."""
        self._restart_at = None
        self._started_at = self._clock()
        pulse = self._pulse.pipe() if self._pulse else nullcontext()
        with self.log.open() as log, pulse as fd:
            more = {} if fd is None else {VARIABLE: str(fd)}
            self._process = subprocess.Popen(  # noqa: S603  # our own command
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self._environ, **more},
                pass_fds=(self._parent_fd,) if fd is None else (self._parent_fd, fd),
                start_new_session=True,
            )

    def tend(self) -> str | None:
        """Restart the child if it has died and its pause is over. Return a sentence if there is something to report."""
        if problem := self.log.new_problem():
            return problem
        if self.alive:
            self.log.trim()
            return self._kill_if_stalled()
        now = self._clock()
        if self._restart_at is None:
            self._failures = 0 if now - self._started_at >= _STEADY_S else self._failures + 1
            pause = compute_backoff(self._failures - 1, base_s=_FIRST_PAUSE_S, cap_s=_LONGEST_PAUSE_S)
            self._restart_at = now + pause
            return f"{self.name} {self.report(f'it is started again in {pause:g} s')}"
        if now >= self._restart_at:
            try:
                self.start()
            except OSError as error:  # out of memory or processes
                self._restart_at = now + _LONGEST_PAUSE_S
                return f"{self.name} cannot be started: {error}; it is tried again in {_LONGEST_PAUSE_S:g} s"
        return None

    def terminate(self) -> None:
        """Ask the process to end. While it lives, it must end its own children."""
        if self._process is not None and self.alive:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill the process and everything it started."""
        if self._process is not None:
            self._signal(signal.SIGKILL)

    def report(self, what_next: str = "") -> str:
        """Describe how the last process ended, what happens next, the likely cause, and the last line of its log."""
        described = exits.describe_exit_code(self.exit_code) or f"ended with exit code {self.exit_code}"
        ending = f"was {described}" if self.exit_code < 0 else described
        what_next = f"; {what_next}" if what_next else ""
        return f"{ending}{what_next}. {self.log.memory_cause(self.exit_code)}{self.log.last_words}"

    def _kill_if_stalled(self) -> str | None:
        silent_s = self._pulse.stalled() if self._pulse else 0.0
        if not silent_s:
            return None
        self.kill()
        return f"{self.name} has given no sign of life for {silent_s:.0f} s; it is ended and started again"

    def _signal(self, number: signal.Signals) -> None:
        """Signal the whole group: a dead gunicorn leaves its workers behind."""
        assert self._process is not None  # noqa: S101  # for the type checker
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)
