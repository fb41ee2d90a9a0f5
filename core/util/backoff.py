"""Computes the pauses between tries, for all of Tagfleet's processes.

A pause doubles with each failure, up to a cap. Jitter shortens it at random, so that processes which failed together do
not try again together. (The client library depends on no other package and has its own copy.)
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

_MAX_DOUBLINGS = 60
"""No cap is that high, and more doublings would overflow at some point."""


def compute_backoff(attempt: int, *, base_s: float, cap_s: float, jitter: float = 0.0) -> float:
    """Return the pause in seconds after failure number `attempt`, counted from 0.

    The pause is `base_s` doubled `attempt` times, `cap_s` at most. `jitter`, 0..1, is the largest share of it that is
    taken away at random: 0 always gives the same pause, 1 anything from 0 to the whole pause.
    """
    pause = min(cap_s, base_s * 2.0 ** min(max(attempt, 0), _MAX_DOUBLINGS))
    return pause * random.uniform(1.0 - jitter, 1.0) if jitter else pause  # noqa: S311  # no secret depends on it


def retry(
    step: Callable[[], T],
    retried: type[Exception],
    *,
    tries: int,
    base_s: float,
    cap_s: float = 60.0,
    pause: Callable[[float], object] = time.sleep,
) -> T:
    """Call `step` until it does not raise `retried`, and return its result. Raises the last error after `tries`."""
    for attempt in range(tries - 1):
        try:
            return step()
        except retried:
            pause(compute_backoff(attempt, base_s=base_s, cap_s=cap_s))
    return step()
