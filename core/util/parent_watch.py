"""Ends a process when its parent ends, even by kill -9.

The parent holds the write end of a pipe open and never writes to it. The child inherits the read end, whose number is
in TAGFLEET_LIFELINE. When the parent dies, the kernel closes the pipe, and the child sends itself SIGTERM.
"""

from __future__ import annotations

import os
import signal
import stat
import threading
from collections.abc import MutableMapping

VARIABLE = "TAGFLEET_LIFELINE"


def watch_parent(environ: MutableMapping[str, str]) -> bool:
    """Start a daemon thread that watches the pipe named in `environ`. Returns False if it names no open pipe.

    Removes the variable from `environ` and keeps children from inheriting the pipe: both are for this process alone.
    """
    try:
        fd = int(environ.pop(VARIABLE, ""))
        is_pipe = stat.S_ISFIFO(os.fstat(fd).st_mode)
    except (ValueError, OverflowError, OSError):
        return False
    if not is_pipe:
        return False
    os.set_inheritable(fd, False)
    threading.Thread(target=_wait_for_end, args=(fd,), name="parent-watch", daemon=True).start()
    return True


def _wait_for_end(fd: int) -> None:
    while os.read(fd, 1):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
