"""The probe takes the smallest batch that is about as fast as the fastest, and tolerates a lack of memory."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from app_tier.engines.batch_probe import choose_batch


def device(seconds: dict[int, float], room: int = 1000) -> Callable[[int], float]:
    def measure(size: int) -> float:
        if size > room:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return seconds.get(size, size / 1000)

    return measure


@pytest.mark.parametrize(
    ("seconds", "room", "chosen"),
    [
        ({}, 1000, 64),
        ({64: 0.065}, 1000, 64),
        ({64: 0.08}, 1000, 128),
        ({64: 0.08, 128: 0.15}, 1000, 256),
        ({64: 0.08, 128: 0.15}, 200, 128),
        ({}, 63, 32),
        ({}, 1, 1),
    ],
)
def test_the_smallest_of_the_fast_ones(seconds: dict[int, float], room: int, chosen: int) -> None:
    assert choose_batch(device(seconds, room)) == chosen


def test_a_slow_device_is_not_measured_for_long() -> None:
    now, asked = [0.0], []

    def measure(size: int) -> float:
        asked.append(size)
        now[0] += 3.0
        return 1.0

    assert choose_batch(measure, lambda: now[0]) == 64
    assert asked == [64]


def test_without_memory_for_one_image_it_raises() -> None:
    with pytest.raises(torch.OutOfMemoryError):
        choose_batch(device({}, 0))
