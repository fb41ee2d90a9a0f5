"""A tagger that takes no time but that of its device."""

from __future__ import annotations

import numpy as np
import pytest

from app_tier.taggers import DeviceTagger
from bench.free import SimulatedDevice
from core.domain.messages import TagOptions

_FRAMES = [np.zeros((224, 224, 3), np.uint8)] * 4


def test_a_device_is_busy_unless_its_next_batch_comes_late() -> None:
    now = 100.0
    device = SimulatedDevice(images_per_s=1000.0, best_batch=4, clock=lambda: now)
    assert isinstance(device, DeviceTagger)
    assert device.busy_share == 0.0
    for _ in range(2):  # the second is there before the first is done
        device.submit(_FRAMES, [TagOptions()] * 4)
    assert device.busy_share == pytest.approx(1.0)
    now = 100.016  # 8 ms after both are done
    pending = device.submit(_FRAMES, [TagOptions()] * 4)
    assert device.busy_share == pytest.approx(0.6)
    now = 101.0
    assert len(pending.result()) == 4
    device.restart()
    assert device.busy_share == 0.0
