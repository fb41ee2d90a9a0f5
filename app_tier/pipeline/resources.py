"""Measures what this machine, or this container, offers to a worker."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from app_tier.pipeline.sizing import Resources

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_UNKNOWN_MB = 4096


def measure_resources() -> Resources:
    """Return the processors that this process may use, and the machine's memory, or its control group's if less."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        cores = os.cpu_count() or 1
    return Resources(cores, _memory_mb())


def _memory_mb() -> int:
    try:
        bytes_ = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return _UNKNOWN_MB
    with suppress(OSError, ValueError):  # no control groups, or "max"
        bytes_ = min(bytes_, int(_CGROUP_LIMIT.read_text()))
    return bytes_ >> 20
