"""Measures what this machine, or this container, offers to a worker, and makes it give memory back."""

from __future__ import annotations

import ctypes
import os
from contextlib import suppress
from pathlib import Path

from app_tier.pipeline.sizing import Resources

_CGROUP_LIMIT = Path("/sys/fs/cgroup/memory.max")
_UNKNOWN_MB = 4096
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_LARGE_BYTES = 4 << 20
_KEPT_BYTES = 16 << 20


def measure_resources() -> Resources:
    """Return the processors that this process may use, and the machine's memory, or its control group's if less."""
    try:
        cores = len(os.sched_getaffinity(0))
    except AttributeError:  # not on macOS
        cores = os.cpu_count() or 1
    return Resources(cores, _memory_mb())


def return_large_blocks() -> bool:
    """Have the C library give large blocks back to the system once they are free. Return whether it will.

    By default glibc learns to keep blocks of up to 32 MB, in a heap for each group of threads. After some large photos,
    a worker with many threads held twice as much memory as the images that it had fetched.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # glibc has it, musl and macOS do not
    if mallopt is None or not mallopt(_M_MMAP_THRESHOLD, _LARGE_BYTES):
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))  # or it would be 128 kB now: less than a frame


def _memory_mb() -> int:
    try:
        bytes_ = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError):
        return _UNKNOWN_MB
    with suppress(OSError, ValueError):  # no control groups, or "max"
        bytes_ = min(bytes_, int(_CGROUP_LIMIT.read_text()))
    return bytes_ >> 20
