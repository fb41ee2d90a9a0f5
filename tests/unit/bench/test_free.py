"""A tagger that takes no time but that of its device."""

from __future__ import annotations

import numpy as np
import pytest

from bench.free import FreeTagger
from core.domain.messages import TagOptions


def test_a_device_that_never_waits_is_busy_all_the_time() -> None:
    tagger = FreeTagger(images_per_s=1000.0)
    assert tagger.busy_share == 0.0
    predictions = tagger.infer(np.zeros((4, 224, 224, 3), np.uint8), [TagOptions()] * 4)
    assert len(predictions) == 4
    assert tagger.busy_share == pytest.approx(1.0)
    tagger.restart()
    assert tagger.busy_share == 0.0
