"""Describe the day and the machine, as the heading of every report."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path


def machine() -> str:
    """Return one line: the date, the usable cores, the processor and the system."""
    cores = len(os.sched_getaffinity(0))
    return f"{time.strftime('%Y-%m-%d')}, {cores} cores of {_processor()}, {platform.system()}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor()
