"""The orders of epochs are complete, repeatable, and contain rare labels as often as intended."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training.data.examples import Example
from training.fit.options import SamplerName
from training.fit.sampling import Sampler, compute_rarities, compute_repeat_factors

NAMES = get_args(SamplerName)


def examples(*labels: set[int]) -> list[Example]:
    return [Example(Path(str(number)), frozenset(some), str(number)) for number, some in enumerate(labels)]


UNEVEN = examples(*[{0}] * 95, *[{0, 1}] * 4, {2})

some_examples = st.lists(st.sets(st.integers(0, 3)), min_size=1, max_size=30).map(lambda found: examples(*found))


@given(some_examples, st.sampled_from(NAMES), st.integers(0, 2**32))
@settings(max_examples=40)
def test_all_epochs_are_equally_long_and_a_seed_repeats_them(
    found: list[Example], name: SamplerName, seed: int
) -> None:
    sampler, same = Sampler(name, found, 4, seed), Sampler(name, found, 4, seed)
    for epoch in range(3):
        order = sampler.order(epoch)
        assert len(order) == sampler.length
        assert order.tolist() == same.order(epoch).tolist()
        assert 0 <= order.min() <= order.max() < len(found)


@given(some_examples, st.integers(0, 5))
@settings(max_examples=40)
def test_each_example_comes_once_or_at_least_once(found: list[Example], epoch: int) -> None:
    assert sorted(Sampler("plain", found, 4, 1).order(epoch)) == list(range(len(found)))
    counts = np.bincount(Sampler("oversample", found, 4, 1).order(epoch), minlength=len(found))
    wanted = compute_repeat_factors(found, 4)
    assert (counts >= np.floor(wanted)).all()
    assert (counts <= np.ceil(wanted * (len(found) + 1) / len(found))).all()


def test_another_epoch_and_another_seed_have_another_order() -> None:
    orders = [Sampler("plain", UNEVEN, 3, seed).order(epoch).tolist() for seed in (1, 2) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4


def test_repeat_factors_are_those_of_the_paper() -> None:
    factors = compute_repeat_factors(UNEVEN, 3)
    assert factors[0] == 1
    assert factors[95] == pytest.approx(np.sqrt(0.1 / 0.04))
    assert factors[99] == pytest.approx(np.sqrt(0.1 / 0.01))


def test_oversampling_brings_rare_labels_that_much_more_often() -> None:
    sampler = Sampler("oversample", UNEVEN, 3, 5)
    counts = sum(np.bincount(sampler.order(epoch), minlength=100) for epoch in range(400)) / 400
    np.testing.assert_allclose(counts, compute_repeat_factors(UNEVEN, 3), rtol=0.05)


def test_weighted_draws_make_labels_nearly_equally_frequent() -> None:
    sampler = Sampler("weighted", UNEVEN, 3, 5)
    drawn = np.concatenate([sampler.order(epoch) for epoch in range(200)])
    shares = [np.mean([label in UNEVEN[index].labels for index in drawn]) for label in range(3)]
    assert shares[2] == pytest.approx(compute_rarities(UNEVEN, 3)[99] / compute_rarities(UNEVEN, 3).sum(), rel=0.1)
    assert shares[2] > 30 * 0.01
    assert shares[1] > 5 * 0.04


def test_examples_without_labels_weigh_as_the_most_common_ones() -> None:
    assert compute_rarities(examples({0}, {0}, set(), {1}), 2).tolist() == [0.5, 0.5, 0.5, 1.0]
    assert compute_rarities(examples(set(), set()), 2).tolist() == [1.0, 1.0]
