"""The time since this machine started: one clock for all its processes, which nobody can set."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Uptime:
    """`now` gives seconds since `boot`, which names one start of the machine; they stand still while it sleeps."""

    now: Callable[[], float]
    boot: str

    @classmethod
    def of_machine(cls) -> Uptime:
        return cls(time.monotonic, _boot())


def _boot() -> str:
    """Linux names each boot; elsewhere its hour has to do."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return f"hour {(time.time() - time.monotonic()) // 3600:.0f}"
