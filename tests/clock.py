"""A clock that tests set."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Clock:
    """Gives `now`, in seconds, until the test changes it."""

    now: float = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now
