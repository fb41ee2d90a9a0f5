"""Chooses the number of images in one forward pass: the smallest that is about as fast as the fastest."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch

SIZES = (64, 128, 256)
_LESS = (32, 16, 8, 4, 2, 1)
"""For a device whose memory does not suffice for the first of `SIZES`."""
_WITHIN = 0.03
_MOST_S = 1.5


def choose_batch(seconds: Callable[[int], float], clock: Callable[[], float] = time.monotonic) -> int:
    """Return the smallest of `SIZES` whose images/s are within 3 % of the best, or less if memory does not suffice.

    `seconds(size)` runs a batch and returns the time that one takes; it may raise OutOfMemoryError. Larger sizes are
    left out once 1.5 s have passed. Raises OutOfMemoryError if not even one image fits.
    """
    started, rates = clock(), dict[int, float]()
    for size in SIZES:
        if rates and clock() - started > _MOST_S:
            break
        try:
            rates[size] = size / seconds(size)
        except torch.OutOfMemoryError:
            break
    if not rates:
        return _largest_that_fits(seconds)
    best = max(rates.values())
    return min(size for size, rate in rates.items() if rate >= (1 - _WITHIN) * best)


def _largest_that_fits(seconds: Callable[[int], float]) -> int:
    for size in _LESS[:-1]:
        try:
            seconds(size)
        except torch.OutOfMemoryError:
            continue
        return size
    seconds(_LESS[-1])
    return _LESS[-1]
