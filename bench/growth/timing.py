"""Time operations: the median of several calls in this process."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator

from bench.growth.operations import MOST_RUNS, Operation, Unsupported

_FEWEST = 5
_ENOUGH_S = 1.5


def median_ms(operation: Operation, clock: Callable[[], float] = time.perf_counter) -> float | None:
    """Return the median of at least five calls after a first one that is not counted; None if it is unsupported.

    It is called until that took a second and a half, or `MOST_RUNS` times.
    """
    try:
        operation.run()
        return statistics.median(_times(operation.run, clock))
    except Unsupported:
        return None


def _times(run: Callable[[], object], clock: Callable[[], float]) -> Iterator[float]:
    spent = 0.0
    for number in range(MOST_RUNS):
        if number >= _FEWEST and spent >= _ENOUGH_S:
            return
        began = clock()
        run()
        took = clock() - began
        spent += took
        yield 1000 * took
