"""The time since this machine started: one clock for all its processes, which nobody can set."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Uptime:
    """`now` gives seconds since the start named `boot`. They do not grow while the machine sleeps."""

    now: Callable[[], float]
    boot: str

    @classmethod
    def of_machine(cls) -> Uptime:
        return cls(time.monotonic, _boot())


def _boot() -> str:
    """Return Linux's id of this boot; elsewhere the hour of the boot."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return f"hour {(time.time() - time.monotonic()) // 3600:.0f}"
