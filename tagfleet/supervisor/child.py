"""One child process: started in a session of its own, started again when it dies, ended with all that it started."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import BinaryIO

from core import exits
from core.fleet.pulse import VARIABLE
from core.util.private import private_file, private_log
from tagfleet.supervisor.pulse_watch import PulseWatch

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0
_STEADY_S = 30.0
"""A child that lived this long is started again at once the next time, as it were new."""
_MAX_LOG_BYTES = 10 * 1024 * 1024


class Child:
    """`lifeline` is the read end of the pipe that tells the child when we are gone."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        environ: Mapping[str, str],
        lifeline: int,
        log: Path,
        stalled_s: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`stalled_s`: restart the child after this long without a beat on its pipe; 0: it has none."""
        self.name = name
        self.log = log
        self._command = list(command)
        self._environ = dict(environ)
        self._lifeline = lifeline
        self._clock = clock
        self._watch = PulseWatch(stalled_s, clock) if stalled_s else None
        self._process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._failures = 0
        self._log_start = 0
        self._start_at: float | None = None
        self.exit_code = 0
        """Of the last process: negative where a signal killed it."""
        self.unlogged = ""
        """Why its process has no log; empty where it has one."""
        self._told_unlogged = ""

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def alive(self) -> bool:
        """False once it is dead; what it had started itself is then dead too."""
        if self._process is None:
            return False
        # Not reaped before its group is killed: until then nobody else can get its number.
        if os.waitid(os.P_PID, self._process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
            return True
        self._signal(signal.SIGKILL)
        self.exit_code = self._process.wait()
        self._process = None
        return False

    def start(self) -> None:
        """Start the process, without a log where none can be written; `unlogged` then says why. Raises OSError."""
        self._start_at = None
        self._started_at = self._clock()
        pulse = self._watch.pipe() if self._watch else nullcontext()
        with self._opened_log() as log, pulse as fd:
            self._log_start = log.tell()
            more = {} if fd is None else {VARIABLE: str(fd)}
            self._process = subprocess.Popen(  # noqa: S603  # our own command
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**self._environ, **more},
                pass_fds=(self._lifeline,) if fd is None else (self._lifeline, fd),
                start_new_session=True,
            )

    def _opened_log(self) -> BinaryIO:
        try:
            _rotate(self.log)
            log = private_log(self.log)
        except OSError as error:
            self.unlogged = f"what {self.name} logs is lost: {self.log} cannot be written ({error.strerror})"
            return open(os.devnull, "ab")  # noqa: PTH123  # no file of ours
        self.unlogged = ""
        return log

    def tend(self) -> str | None:
        """Start it again when it is dead and its pause is over; a sentence when there is something to tell."""
        if self.unlogged and self.unlogged != self._told_unlogged:
            self._told_unlogged = self.unlogged
            return self.unlogged
        if self.alive:
            _trim(self.log)
            if self._watch and (silent_s := self._watch.stalled()):
                self.kill()
                return f"{self.name} has given no sign of life for {silent_s:.0f} s; it is ended and started again"
            return None
        now = self._clock()
        if self._start_at is None:
            self._failures = 0 if now - self._started_at >= _STEADY_S else self._failures + 1
            pause = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** max(0, self._failures - 1))
            self._start_at = now + pause
            return f"{self.name} {self.ending}; it is started again in {pause:g} s. {self.cause}{self.last_words}"
        if now >= self._start_at:
            try:
                self.start()
            except OSError as error:  # no memory, no process to be had
                self._start_at = now + _LONGEST_PAUSE_S
                return f"{self.name} cannot be started: {error}; it is tried again in {_LONGEST_PAUSE_S:g} s"
        return None

    def terminate(self) -> None:
        """Ask it to end. Its own children are its own business until it is dead."""
        if self._process is not None and self.alive:
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        if self._process is not None:
            self._signal(signal.SIGKILL)

    @property
    def ending(self) -> str:
        told = exits.describe_exit_code(self.exit_code) or f"ended with exit code {self.exit_code}"
        return f"was {told}" if self.exit_code < 0 else told

    @property
    def cause(self) -> str:
        """A sentence where memory seems to have ended it, from what its last process wrote."""
        cause = exits.memory_cause(self.exit_code, exits.read_tail(self.log, self._log_start)) if self.exit_code else ""
        return f"{cause[0].upper()}{cause[1:]}. " if cause else ""

    @property
    def last_words(self) -> str:
        """The last line of its log, and where the rest is."""
        with suppress(OSError), self.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - 4096))
            lines = [line for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]
            if lines:
                return f"Its log ends: {lines[-1].strip()} ({self.log})"
        return f"Its log: {self.log}"

    def _signal(self, number: signal.Signals) -> None:
        """To the whole group: a dead gunicorn leaves workers behind."""
        assert self._process is not None  # noqa: S101  # for the type checker
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)


def _rotate(log: Path) -> None:
    """Keep one old log beside the present one."""
    with suppress(FileNotFoundError):
        if log.stat().st_size > _MAX_LOG_BYTES:
            log.replace(log.with_name(log.name + ".1"))


def _trim(log: Path) -> None:
    """The same for a log that is being written: its content moves, the file stays. What comes between is lost."""
    with suppress(OSError):
        if log.stat().st_size <= _MAX_LOG_BYTES:
            return
        old = log.with_name(log.name + ".1")
        try:
            private_file(old)
            shutil.copyfile(log, old)
        except OSError:  # the disk is full: better half of the log than none, and some room
            old.unlink(missing_ok=True)
        os.truncate(log, 0)
