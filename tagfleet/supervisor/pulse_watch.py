"""Read the signs of life that a child writes into a pipe, and report when they stop."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from core.fleet.liveness import Attention, Liveness

_LONGEST_S = 1.0
"""The pipe is read several times a second; a longer gap means that this process or the machine slept."""
_START = 4
"""A child may take this many times `stalled_s` to its first sign of life: imports on a busy machine are slow."""
_CHUNK = 1 << 16


class PulseWatch:
    """Watches one child over all its starts. `clock` is monotonic."""

    def __init__(self, stalled_s: float, clock: Callable[[], float]) -> None:
        self._stalled_s = stalled_s
        self._clock = clock
        self._read: int | None = None
        self._begin()

    @contextmanager
    def pipe(self) -> Iterator[int]:
        """Yield the write end of a new pipe. Start the child within this block."""
        if self._read is not None:
            os.close(self._read)
        self._read, write = os.pipe()
        os.set_blocking(self._read, False)
        self._begin()
        try:
            yield write
        finally:
            os.close(write)

    def stalled(self) -> float:
        """Return how long the child has been silent if that is too long, else 0. Call it several times a second."""
        with suppress(BlockingIOError):
            while self._read is not None and (beats := os.read(self._read, _CHUNK)):
                self._beats += len(beats)
        self._liveness.look({"child": self._beats}, self._attention.elapsed())
        silent_s = self._liveness.silent_s("child")
        return silent_s if silent_s >= self._stalled_s * (1 if self._beats else _START) else 0.0

    def _begin(self) -> None:
        self._beats = 0
        self._liveness, self._attention = Liveness(), Attention(self._clock, _LONGEST_S)
