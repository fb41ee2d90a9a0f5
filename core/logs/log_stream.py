"""A stream for logs that never fails and hardly ever blocks: it drops and counts the lines that it cannot write.

1. A log matters less than the work it describes: a full disk, a closed pipe or a missing descriptor must end nothing.
2. A reader matters less too: the stream waits once, for a second, for a pipe that nobody empties. From then on it drops
   lines until the pipe accepts some again.
3. Nothing is buffered: data of a failed write in a buffer would make the next write fail, and the exit.
"""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import threading
import time
from typing import TextIO

_PATIENCE_S = 1.0
_PIECE = 4096
"""PIPE_BUF of Linux: a pipe that reports ready accepts this many bytes without blocking."""


class LogStream(io.TextIOBase):
    """Writes text to the descriptor `fd`, or drops it if that is None. Safe for several threads, and after a fork.

    `dropped` counts the lines that were lost, wholly or in part.
    """

    def __init__(self, fd: int | None) -> None:
        super().__init__()
        self._fd = fd
        self._may_block = fd is not None and not _is_file(fd)
        self._lock = threading.RLock()  # a signal handler may log while its own thread is logging
        self._patience_s = _PATIENCE_S
        self._torn = False
        self.dropped = 0
        os.register_at_fork(after_in_child=self._after_fork)

    @property
    def encoding(self) -> str:  # type: ignore[override]  # typeshed has a plain attribute
        return "utf-8"

    @property
    def errors(self) -> str:  # type: ignore[override]
        return "backslashreplace"

    def fileno(self) -> int:
        if self._fd is None:
            raise io.UnsupportedOperation("fileno")
        return self._fd

    def isatty(self) -> bool:
        return self._fd is not None and os.isatty(self._fd)

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        """Write as much of `text` as possible. Returns its length in any case."""
        data = text.encode(self.encoding, self.errors)
        with self._lock:
            # After a line that was cut off, begin a new one.
            if self._torn and self._write_bytes(b"\n") == 0:
                self._torn = False
            left = len(data) if self._torn else self._write_bytes(data)
            if left:
                self.dropped += max(1, data[-left:].count(b"\n"))
                self._torn |= left < len(data)
        return len(text)

    def _write_bytes(self, data: bytes) -> int:
        """Write `data`, and return how many bytes could not be written."""
        view = memoryview(data)
        if self._fd is None:
            return len(view)
        deadline = time.monotonic() + self._patience_s
        while view:
            try:
                if self._may_block and not self._is_ready(deadline - time.monotonic()):
                    self._patience_s = 0.0
                    return len(view)
                view = view[os.write(self._fd, view[:_PIECE] if self._may_block else view) :]
            except BlockingIOError:
                if not self._is_ready(deadline - time.monotonic()):
                    self._patience_s = 0.0
                    return len(view)
            except (OSError, ValueError):
                return len(view)
        self._patience_s = _PATIENCE_S
        return 0

    def _is_ready(self, wait_s: float) -> bool:
        """Wait up to `wait_s`; return whether a write would not block: it would succeed, or report an error."""
        poll = select.poll()
        poll.register(self._fd or 0, select.POLLOUT)
        return bool(poll.poll(max(0.0, wait_s) * 1000))

    def _after_fork(self) -> None:
        self._lock = threading.RLock()  # another thread of the parent may have held it


def never_failing(stream: TextIO | None) -> LogStream | TextIO:
    """Return a stream to the same descriptor that never fails; a stream without a descriptor unchanged."""
    if stream is None:
        return LogStream(None)
    if isinstance(stream, LogStream):
        return stream
    try:
        stream.flush()
        return LogStream(stream.fileno())
    except io.UnsupportedOperation:  # a test's
        return stream
    except (OSError, ValueError) as error:
        return LogStream(None if getattr(error, "errno", errno.EBADF) == errno.EBADF else stream.fileno())


def _is_file(fd: int) -> bool:
    try:
        return stat.S_ISREG(os.fstat(fd).st_mode)
    except OSError:
        return False
