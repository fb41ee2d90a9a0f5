"""The machine's uptime: one clock that all its processes share and nobody can set."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Uptime:
    """`now` gives the seconds since the boot with the id `boot`, without time in which the machine slept."""

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
