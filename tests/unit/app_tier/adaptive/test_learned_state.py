"""Learned states: independent of order, merging and repeats; and the tags that follow from them."""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app_tier.adaptive.bayes import CalibrationExample, Model
from app_tier.adaptive.encoding import decode_state, encode_state
from app_tier.adaptive.state import MAX_TAGS, SAMPLE, AppliedFeedback, ImageFeedback, LearnedState
from app_tier.adaptive.statistics import Features, Statistics, Sums, to_features
from app_tier.taggers.adaptive import choose_tags
from core.domain.messages import Opinion, TagOptions
from core.errors import WeightsInvalid

D = 6
quick = settings(max_examples=60, deadline=None)

numbers = st.integers(-32_767, 32_767)
vectors = st.lists(numbers, min_size=D, max_size=D).map(lambda found: np.array(found, np.int16))
names = st.sampled_from(["dog", "Dog", "cat", "sofa"])
facts = st.lists(st.tuples(names, vectors, st.booleans()), max_size=12)


def learned(found: Sequence[tuple[str, Features, bool]]) -> Statistics:
    statistics = Statistics.empty(D)
    for name, vector, wanted in found:
        statistics = statistics.add(name, vector, wanted=wanted)
    return statistics


@quick
@given(facts, st.randoms(use_true_random=False), st.integers(0, 12))
def test_any_order_and_any_merging_gives_the_same_statistics(found, random, cut):
    shuffled = random.sample(found, len(found))
    assert learned(shuffled) == learned(found)
    assert learned(shuffled[:cut]) + learned(shuffled[cut:]) == learned(found)


@quick
@given(facts, names, vectors, st.booleans())
def test_subtracting_undoes_adding_exactly(found, name, vector, wanted):
    before = learned([("Dog", vector, True), *found])  # of two spellings that stays which sorts first
    assert before.add(name, vector, wanted=wanted).subtract(name, vector, wanted=wanted) == before


opinions = st.dictionaries(st.sampled_from(["dog", "cat", "sofa"]), st.booleans(), max_size=3).map(
    lambda said: tuple(Opinion(name=name, wanted=wanted) for name, wanted in said.items())
)
stories = st.lists(st.tuples(st.sampled_from("abc"), opinions), max_size=10)


@quick
@given(stories, st.randoms(use_true_random=False), st.integers(1, 4))
def test_feedback_that_comes_twice_late_and_in_any_order_is_learned_once(story, random, at_once):
    own = {image: np.full(D, 100 * number, np.int16) for number, image in enumerate("abc", start=1)}
    told = [ImageFeedback(image, revision, said, own[image]) for revision, (image, said) in enumerate(story)]
    delivered = random.sample(told * 2, 2 * len(told))
    state = LearnedState.empty(D)
    for first in range(0, len(delivered), at_once):
        state = state.with_feedback(delivered[first : first + at_once])
    last = {news.image_id: news for news in told}
    assert state.statistics == learned(
        [(said.name, own[image], said.wanted) for image, news in last.items() for said in news.opinions]
    )
    assert set(state.sample) == {
        (image, said.name) for image, news in last.items() for said in news.opinions if said.wanted
    }
    assert state.images == {image: AppliedFeedback(news.revision, news.opinions) for image, news in last.items()}


@quick
@given(facts, st.lists(vectors, min_size=1, max_size=4), st.lists(vectors, max_size=4))
def test_confidences_sum_to_one_and_are_finite(found, photos, seen):
    statistics = learned(found)
    if seen:
        statistics = statistics.with_seen(Sums.of(np.stack(seen)))
    examples = [CalibrationExample(name.casefold(), vector) for name, vector, wanted in found if wanted]
    model = Model(statistics, examples)
    shares = model.probabilities(np.stack(photos))
    assert shares.shape == (len(photos), len(model.names) + 1)
    assert np.isfinite(shares).all()
    assert (shares >= 0).all()
    assert shares.sum(axis=1) == pytest.approx(np.ones(len(photos)))


@quick
@given(st.lists(st.floats(0.0, 1.0), min_size=1, max_size=8), st.floats(0.01, 1.0))
def test_the_set_of_tags_is_the_smallest_that_is_likely_enough(weights, reach):
    shares = (np.array(weights) + 1e-6) / (sum(weights) + 1e-6 * len(weights))
    tags = [str(number) for number in range(len(shares) - 1)]
    every = TagOptions(cumulative=reach, min_confidence=0.0)
    given_ = {int(tag.name) for tag in choose_tags(shares, tags, every, TagOptions())}
    none = len(shares) - 1
    ranked = sorted(range(len(shares)), key=lambda index: -shares[index])
    size = next(
        (n for n in range(1, len(ranked) + 1) if math.fsum(shares[i] for i in ranked[:n]) >= reach - 1e-9), len(ranked)
    )
    assert given_ - {none} <= set(ranked[: size + 1])
    assert given_ | {none} >= set(ranked[: max(1, size - 1)])


def test_options_of_a_batch_are_used():
    shares, tags = np.array([0.5, 0.3, 0.1, 0.06, 0.04]), ["a", "b", "c", "d"]

    def said(wanted: TagOptions) -> list[str]:
        return [tag.name for tag in choose_tags(shares, tags, wanted, TagOptions(top_k=3, min_confidence=0.05))]

    assert said(TagOptions()) == ["a", "b", "c"]
    assert said(TagOptions(cumulative=0.7)) == ["a", "b"]
    assert said(TagOptions(top_k=1)) == ["a"]
    assert said(TagOptions(cumulative=1.0, top_k=9)) == ["a", "b", "c", "d"]
    assert said(TagOptions(min_confidence=0.2)) == ["a", "b"]


class World:
    """Photos of kinds that can be told apart: noise around a centre."""

    def __init__(self, dimensions: int = 96, noise: float = 0.4, seed: int = 1) -> None:
        self.random = np.random.default_rng(seed)
        self.dimensions = dimensions
        self._noise = noise
        self._centres: dict[str, np.ndarray] = {}

    def photos(self, kind: str, count: int) -> Features:
        centre = self._centres.setdefault(kind, np.abs(self.random.normal(size=self.dimensions)))
        return to_features(np.maximum(0, centre + self._noise * self.random.normal(size=(count, self.dimensions))))

    def told(
        self, state: LearnedState, kind: str, count: int, *, tag: str | None = None, wanted: bool = True
    ) -> LearnedState:
        said = (Opinion(name=tag or kind, wanted=wanted),)
        photos = self.photos(kind, count)
        start = len(state.images)
        return state.with_feedback(
            [ImageFeedback(f"img_{start + n}", 1, said, photo) for n, photo in enumerate(photos)]
        )


@pytest.fixture
def world() -> World:
    return World()


def test_a_new_tag_is_found_after_five_examples(world):
    state = LearnedState.empty(world.dimensions)
    for kind in ("cat", "dog", "car"):
        state = world.told(state, kind, 8)
    before = state.model()
    assert before.probabilities(world.photos("axolotl", 20)).argmax(axis=1).tolist() == [3] * 20, "none of the three"
    model = world.told(state, "axolotl", 5).model()
    found = model.probabilities(world.photos("axolotl", 20))[:, model.names.index("axolotl")]
    assert (found > 0.5).all()
    for kind in ("cat", "dog", "car"):
        assert (model.probabilities(world.photos(kind, 20)).argmax(axis=1) == model.names.index(kind)).all()


def test_one_photo_of_a_tag_does_not_give_it_to_every_photo(world):
    state = world.told(LearnedState.empty(world.dimensions), "Rex", 1)
    seen = np.concatenate([world.photos(kind, 5) for kind in ("cat", "car", "house", "Rex")])
    state = state.with_feedback([], Sums.of(seen))
    found = state.model().probabilities(np.concatenate([world.photos("car", 5), world.photos("Rex", 5)]))[:, 0]
    assert found[:5].max() < 0.5 < found[5:].min()


def test_a_rejection_counts_for_similar_photos(world):
    state = world.told(LearnedState.empty(world.dimensions), "cat", 5)
    state = world.told(state, "lynx", 5, tag="cat")
    lynxes, cats = world.photos("lynx", 10), world.photos("cat", 10)
    before = state.model()
    wiser = world.told(state, "lynx", 8, tag="cat", wanted=False).model()
    assert (wiser.probabilities(lynxes)[:, 0] < before.probabilities(lynxes)[:, 0] / 2).all()
    assert wiser.probabilities(cats)[:, 0].min() > 2 * wiser.probabilities(lynxes)[:, 0].max()


def test_a_tag_that_was_only_rejected_is_never_given(world):
    state = world.told(world.told(LearnedState.empty(world.dimensions), "cat", 3), "dog", 3, wanted=False)
    assert state.model().names == ("cat",)


def test_repeated_features_do_not_make_it_certain():
    """Four features repeated sixteen times: without a temperature it would be sixteen times as sure."""
    world = World(dimensions=4, noise=0.9, seed=3)

    def repeated(kind: str, count: int) -> Features:
        return np.tile(world.photos(kind, count), 16)

    state = LearnedState.empty(64)
    for kind in ("cat", "dog", "car"):
        photos = repeated(kind, 40)
        said = (Opinion(name=kind, wanted=True),)
        state = state.with_feedback([ImageFeedback(f"{kind}{n}", 1, said, photo) for n, photo in enumerate(photos)])
    model = state.model()
    held = [(model.names.index(kind), repeated(kind, 60)) for kind in ("cat", "dog", "car")]

    def surprise(of: Model) -> float:
        return float(np.mean([-np.log(of.probabilities(photos)[:, own] + 1e-12).mean() for own, photos in held]))

    hasty = state.model()
    hasty.temperature = 1.0
    assert model.temperature > 4
    assert surprise(model) < 0.7 * surprise(hasty)


def test_without_learning_there_are_no_tags():
    shares = LearnedState.empty(D).model().probabilities(np.zeros((2, D), np.int16))
    assert shares.tolist() == [[1.0], [1.0]]
    assert choose_tags(shares[0], (), TagOptions(), TagOptions()) == ()


def test_the_calibration_sample_is_bounded_and_the_same_in_any_order(world):
    photos = world.photos("cat", SAMPLE + 50)
    news = [ImageFeedback(f"img_{n}", 1, (Opinion(name="cat", wanted=True),), photo) for n, photo in enumerate(photos)]
    forward, backward = (LearnedState.empty(world.dimensions).with_feedback(told) for told in (news, news[::-1]))
    assert len(forward.sample) == SAMPLE
    assert set(forward.sample) == set(backward.sample)


def test_tags_are_limited_and_known_ones_are_still_learned():
    def told(state: LearnedState, image: str, revision: int, *names: str) -> LearnedState:
        photo = np.full(D, len(image), np.int16)
        return state.with_feedback(
            [ImageFeedback(image, revision, tuple(Opinion(name=name, wanted=True) for name in names), photo)]
        )

    full = told(LearnedState.empty(D), "first", 1, *(f"t{n}" for n in range(MAX_TAGS)))
    more = told(full, "second", 1, "new", "t7")
    assert set(more.statistics.tags) == {f"t{n}" for n in range(MAX_TAGS)}
    assert more.statistics.tags["t7"].accepted.n == 2
    assert more.images["second"].opinions == (Opinion(name="t7", wanted=True),)
    assert told(more, "second", 2).statistics == full.statistics, "what was left out is not subtracted"
    fewer = told(more, "first", 2, "other", "another", *(f"t{n}" for n in range(1, MAX_TAGS)))
    assert set(fewer.statistics.tags) == {"other", *(f"t{n}" for n in range(1, MAX_TAGS))}, "one has made room for one"


def test_features_are_finite_whatever_an_engine_gives():
    found = to_features(np.array([[np.nan, np.inf, -np.inf, 4.0], [0, 0, 0, 0], [1e30, -1e30, 0, 0]], np.float32))
    assert found.dtype == np.int16
    assert found[0].tolist() == [0, 0, 0, 1024]
    assert found[1].tolist() == [0, 0, 0, 0]


# --- as bytes -------------------------------------------------------------------------------------


@pytest.fixture
def state(world) -> LearnedState:
    state = world.told(world.told(LearnedState.empty(world.dimensions), "cat", 3), "Hündchen", 2, wanted=False)
    return replace(state.with_feedback([], Sums.of(world.photos("car", 2))), version=7)


def test_a_state_survives_encoding(state):
    again = decode_state(encode_state(state), "there")
    assert (again.statistics, again.version, again.images) == (state.statistics, 7, state.images)
    assert {which: found.tolist() for which, found in again.sample.items()} == {
        which: found.tolist() for which, found in state.sample.items()
    }
    empty = decode_state(encode_state(LearnedState.empty(D)), "there")
    assert empty == LearnedState.empty(D)


@quick
@given(st.data())
def test_a_damaged_state_gives_one_clear_line(data):
    world = World(dimensions=8)
    whole = encode_state(world.told(LearnedState.empty(8), "cat", 3))
    cut = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[cut] ^= data.draw(st.integers(1, 255))
    for damaged in (whole[:cut], bytes(flipped)):
        with pytest.raises(WeightsInvalid, match="adaptive/b/state") as caught:
            decode_state(damaged, "adaptive/b/state")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "arrays",
    [
        {"about": np.array([{"a": 1}], dtype=object)},  # a pickle
        {"about": np.frombuffer(b'{"format": 2}', np.uint8)},  # a newer version's
        {"sums": np.zeros(3)},
    ],
)
def test_bytes_that_were_never_encoded_are_refused(arrays):
    stream = io.BytesIO()
    np.savez(stream, **arrays)
    with pytest.raises(WeightsInvalid, match="is damaged"):
        decode_state(hashlib.sha256(stream.getvalue()).digest() + stream.getvalue(), "there")
