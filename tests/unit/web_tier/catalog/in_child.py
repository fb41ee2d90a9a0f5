"""Do something in a child process, which may be killed in the middle."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress


def in_child(work: Callable[[], object]) -> int:
    """Do it in a fork of this process; return how that ended: 0, 1 after an error, or less than 0 by a signal."""
    child = os.fork()
    if not child:
        code = 1
        with suppress(BaseException):
            work()
            code = 0
        os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
