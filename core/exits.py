"""Describes how a process ended, from its exit code and from signs of missing memory in its log."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

_TAIL = 16_384
_OUT_OF_MEMORY = re.compile(
    r"\bMemoryError\b|bad_alloc|cannot allocate memory|can't allocate memory|unable to allocate|out of memory"
    r"|failed to map segment|can't start new thread|OutOfMemory|not enough memory",
    re.IGNORECASE,
)
_ADVICE = "give this machine more memory, or run fewer workers (controller.max_workers) or a smaller tagger"


def says_memory(text: str) -> bool:
    """Return whether an error's text says that memory could not be allocated."""
    return bool(_OUT_OF_MEMORY.search(text))


def memory_cause(exit_code: int | None, log: str) -> str:
    """Return a clause that says a process ran out of memory, and what to do; "" if nothing points to that.

    `exit_code` is negative if a signal killed it, None if unknown; `log` is what the process wrote.
    """
    if says_memory(log):
        return f"it ran out of memory: {_ADVICE}"
    if exit_code == -signal.SIGKILL:
        return f"probably out of memory (the system's log, `dmesg`, would say so): {_ADVICE}"
    return ""


def describe_exit_code(exit_code: int | None) -> str:
    """Return how a process ended: by which signal, or with which code; "" if unknown, or if it ended normally."""
    if not exit_code:
        return ""
    if exit_code > 0:
        return f"ended with exit code {exit_code}"
    try:
        return f"killed by {signal.Signals(-exit_code).name}"
    except ValueError:
        return f"killed by signal {-exit_code}"


def describe_end(exit_code: int | None, log: str) -> str:
    """Return how a process ended and why, for people, with its last line of log if memory was not the cause."""
    cause = memory_cause(exit_code, log)
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    last = f"its log ends: {lines[-1][:200]}" if lines and exit_code and not cause else ""
    return "; ".join(filter(None, (describe_exit_code(exit_code), cause or last)))


def read_tail(log: Path, start: int = 0) -> str:
    """Return the end of a log, from byte `start` at the earliest; "" if it cannot be read."""
    try:
        with log.open("rb") as file:
            file.seek(max(start, file.seek(0, os.SEEK_END) - _TAIL))
            return file.read().decode("utf-8", "replace")
    except OSError:
        return ""
