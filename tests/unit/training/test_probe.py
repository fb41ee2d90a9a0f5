"""The linear probe learns from features that show the labels, and not from noise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bench import probe
from training.data.examples import Dataset, Example
from training.fit.metrics import Floats, Truth


def planted(telling: bool) -> tuple[Dataset, Floats, Truth]:
    """Return 60 images with three labels, and features that show them or are only noise."""
    random = np.random.default_rng(4)
    truth = random.random((60, 3)) < [0.5, 0.3, 0.2]
    features = random.normal(0, 1, (60, 400))
    if telling:
        features[:, :300] += np.repeat(truth, 100, axis=1)
    examples = tuple(
        Example(Path(f"{number}.jpg"), frozenset(np.flatnonzero(row).tolist()), str(number))
        for number, row in enumerate(truth)
    )
    return Dataset("planted", ("a", "b", "c"), examples), features, truth


def mean(found: list[probe.Result], name: str) -> float:
    return float(np.mean([getattr(one, name) for one in found]))


@pytest.mark.parametrize("telling", [True, False])
def test_only_features_that_tell_something_beat_the_baselines(telling: bool) -> None:
    found = probe.compare(*planted(telling), count=2)
    silent, prior = found["saying nothing"], found["prior only"]
    # One score for all images ranks none before another: on each label both know the same.
    assert mean(silent, "mAP") == pytest.approx(mean(prior, "mAP"))
    assert mean(prior, "pooled") > mean(silent, "pooled")
    for name in ("linear probe, BCE", "linear probe, focal loss"):
        assert (mean(found[name], "mAP") > mean(prior, "mAP") + 0.3) == telling


def test_the_table_has_each_way_with_its_spread() -> None:
    lines = list(probe.table(probe.compare(*planted(telling=True), count=2)))
    assert len(lines) == 2 + 4
    assert all(line.count("±") == 3 for line in lines[2:])
