"""The log file of one child process: opened at each start, rotated by size, and quoted when the child ends."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from core import exits
from core.util.private import private_file, private_log

_MAX_BYTES = 10 * 1024 * 1024
_LAST_WORDS_BYTES = 4096


class ChildLog:
    """Keeps at most two files of about 10 MB: `path`, and the older `path.1`."""

    def __init__(self, path: Path, child: str) -> None:
        self.path = path
        self._child = child
        self._start = 0
        """Where the output of the child's current process begins."""
        self._problem = ""
        self._reported_problem = ""

    def open(self) -> BinaryIO:
        """Open the log for a new process, or the null device if the file cannot be written: see `new_problem`."""
        try:
            self._rotate()
            log = private_log(self.path)
        except OSError as error:
            self._problem = f"what {self._child} logs is lost: {self.path} cannot be written ({error.strerror})"
            return open(os.devnull, "ab")  # noqa: PTH123  # no file of ours
        self._problem = ""
        self._start = log.tell()
        return log

    def new_problem(self) -> str:
        """Return why there is no log, once for each reason; otherwise an empty string."""
        if not self._problem or self._problem == self._reported_problem:
            return ""
        self._reported_problem = self._problem
        return self._problem

    def trim(self) -> None:
        """Rotate the log while the child writes: copy the content, empty the file. Lines written meanwhile are lost."""
        with suppress(OSError):
            if self.path.stat().st_size <= _MAX_BYTES:
                return
            try:
                private_file(self._old)
                shutil.copyfile(self.path, self._old)
            except OSError:  # the disk is full: delete the old file to make room
                self._old.unlink(missing_ok=True)
            os.truncate(self.path, 0)

    def memory_cause(self, exit_code: int) -> str:
        """Return a sentence if the process seems to have run out of memory, judging by its exit code and its output."""
        cause = exits.memory_cause(exit_code, exits.read_tail(self.path, self._start)) if exit_code else ""
        return f"{cause[0].upper()}{cause[1:]}. " if cause else ""

    @property
    def last_words(self) -> str:
        """The last line of the log, and the path of the rest."""
        with suppress(OSError), self.path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LAST_WORDS_BYTES))
            lines = [line for line in log.read().decode("utf-8", "replace").splitlines() if line.strip()]
            if lines:
                return f"Its log ends: {lines[-1].strip()} ({self.path})"
        return f"Its log: {self.path}"

    @property
    def _old(self) -> Path:
        return self.path.with_name(self.path.name + ".1")

    def _rotate(self) -> None:
        with suppress(FileNotFoundError):
            if self.path.stat().st_size > _MAX_BYTES:
                self.path.replace(self._old)
