"""The two clocks of a process in one value, so that tests and simulations can replace both."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Clock:
    """`monotonic` measures durations. `wall` gives Unix time, for people and files: no two machines agree on it."""

    monotonic: Callable[[], float] = time.monotonic
    wall: Callable[[], float] = time.time
