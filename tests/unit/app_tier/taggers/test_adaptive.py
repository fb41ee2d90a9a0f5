"""The adaptive tagger over a real store: several workers learn at once, all use it, and damage is reported."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from app_tier.adaptive.state import MAX_TAGS, ImageFeedback
from app_tier.adaptive.statistics import Features, to_features
from app_tier.adaptive.store import AdaptiveStore
from app_tier.engines import Outputs, Pixels
from app_tier.models.networks import NETWORKS
from app_tier.taggers import FeedbackItem, Learner
from app_tier.taggers.adaptive import AdaptiveTagger
from app_tier.worker import selection
from config.settings import PoolSettings, Settings
from core.domain.messages import Feedback, Opinion, TagOptions
from core.errors import NotFound, PreconditionFailed, Unavailable, WeightsInvalid, WeightsMissing
from core.storage import layout
from core.storage.ports import ObjectStore
from core.wiring import Backend
from tests.clock import Clock

D = 24
LOOK_S = 5.0
NETWORK = NETWORKS["efficientnet-lite0"]


class Colours:
    """An engine whose features are an image's mean colours, eight times each."""

    name = "numpy"
    best_batch = 8

    def infer(self, batch: Pixels) -> Outputs:
        means: Outputs = batch.reshape(len(batch), -1, 3).mean(axis=1).astype(np.float32)
        return np.repeat(means, D // 3, axis=1)


@pytest.fixture
def clock() -> Clock:
    return Clock(0.0)


@pytest.fixture
def store(backend: Backend) -> ObjectStore:
    return backend.store


def tagger_of(store: ObjectStore, clock: Clock) -> AdaptiveTagger:
    return AdaptiveTagger(NETWORK, Colours(), AdaptiveStore(store, "colours-1", D), TagOptions(), clock, LOOK_S)


def pictures(colour: tuple[int, int, int], count: int = 1, seed: int = 0) -> Pixels:
    """(count, 4, 4, 3), each of about this colour."""
    noise = np.random.default_rng(seed).integers(-20, 20, (count, 1, 1, 3))
    return np.clip(np.array(colour) + noise + np.zeros((count, 4, 4, 3), int), 0, 255).astype(np.uint8)


RED, GREEN, BLUE = (220, 30, 30), (30, 220, 30), (30, 30, 220)


def said(image_id: str, revision: int, **opinions: bool) -> Feedback:
    return Feedback(
        batch_id="bat_1",
        image_id=image_id,
        key="uploads/bat_1/x",
        name="x.jpg",
        revision=revision,
        opinions=tuple(Opinion(name=name, wanted=wanted) for name, wanted in opinions.items()),
    )


def teach(tagger: AdaptiveTagger, tag: str, colour: tuple[int, int, int], count: int = 5) -> None:
    frames = pictures(colour, count, seed=1)
    tagger.learn([FeedbackItem(said(f"{tag}_{n}", 1, **{tag: True}), frame) for n, frame in enumerate(frames)])


def names(tagger: AdaptiveTagger, colour: tuple[int, int, int]) -> list[str]:
    (found,) = tagger.infer(pictures(colour, seed=9), [TagOptions()])
    return [tag.name for tag in found.tags]


def test_all_workers_use_within_seconds_what_one_learned(store: ObjectStore, clock: Clock) -> None:
    one, other = tagger_of(store, clock), tagger_of(store, clock)
    assert isinstance(one, Learner)
    assert names(other, RED) == []
    teach(one, "rose", RED)
    teach(one, "leaf", GREEN)
    assert names(one, RED)[0] == "rose", "it uses at once what it learned itself"
    assert names(other, RED) == [], "it has looked just now"
    clock.now += LOOK_S
    assert names(other, RED)[0] == "rose"
    assert names(other, GREEN)[0] == "leaf"
    assert other.version == one.version == "adaptive@colours-1.2"
    assert set(other.labels) == {"leaf", "rose"}


def test_an_undo_restores_the_statistics(store: ObjectStore, clock: Clock) -> None:
    tagger, learned = tagger_of(store, clock), AdaptiveStore(store, "colours-1", D)
    teach(tagger, "rose", RED)
    before = learned.load()[0].statistics.tags
    (frame,) = pictures(BLUE)
    tagger.learn([FeedbackItem(said("img", 1, sea=True, rose=False), frame)])
    assert set(learned.load()[0].statistics.tags) == {"rose", "sea"}
    assert tagger.has_features_of("img")
    tagger.learn([FeedbackItem(said("img", 2))])
    assert learned.load()[0].statistics.tags == before
    tagger.learn([FeedbackItem(said("img", 1, sea=True), frame)])
    assert learned.load()[0].statistics.tags == before, "what comes late is no news"


def test_feedback_on_a_deleted_image_uses_its_kept_features(store: ObjectStore, clock: Clock) -> None:
    tagger, learned = tagger_of(store, clock), AdaptiveStore(store, "colours-1", D)
    (frame,) = pictures(BLUE)
    tagger.learn([FeedbackItem(said("img", 1, sea=True), frame)])
    tagger.learn([FeedbackItem(said("img", 2, lake=True)), FeedbackItem(said("stranger", 1, lake=True))])
    state, _ = learned.load()
    assert {key: tag.accepted.n for key, tag in state.statistics.tags.items()} == {"lake": 1}
    assert set(state.images) == {"img"}


def test_the_first_features_of_an_image_stay(store: ObjectStore, clock: Clock) -> None:
    """Another machine computes slightly different ones; subtract exactly what was added."""
    learned = AdaptiveStore(store, "colours-1", D)
    one, other = (to_features(np.full((1, D), value, np.float32) + np.arange(D))[0] for value in (1.0, 30.0))
    opinion = (Opinion(name="sea", wanted=True),)
    learned.learn([ImageFeedback("img", 1, opinion, one)])
    learned.learn([ImageFeedback("img", 2, (), other)])
    assert learned.load()[0].statistics.tags == {}


def photo(number: int) -> Features:
    return to_features(np.random.default_rng(number).random((1, D)))[0]


def test_workers_that_learn_at_once_lose_nothing(store: ObjectStore) -> None:
    news = [ImageFeedback(f"img_{n}", 1, (Opinion(name=f"tag {n % 5}", wanted=True),), photo(n)) for n in range(40)]
    together = threading.Barrier(4)

    def work(mine: Sequence[ImageFeedback]) -> None:
        learned = AdaptiveStore(store, "b-1", D)
        together.wait()
        for one in mine:
            learned.learn([one])

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, [news[n::4] for n in range(4)]))
    state, _ = AdaptiveStore(store, "b-1", D).load()
    alone = AdaptiveStore(store, "b-2", D).learn(news)
    assert alone is not None
    assert state.statistics == alone.statistics
    assert (state.version, alone.version) == (40, 1)


class Ahead:
    """A store where other workers write first, for some times."""

    def __init__(self, store: ObjectStore, times: int) -> None:
        self._store = store
        self.times = times

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)

    def put(self, key: str, data: bytes, **options: Any) -> Any:
        if key.endswith("/state") and self.times:
            self.times -= 1
            raise PreconditionFailed(f"{key} is another one by now")
        return self._store.put(key, data, **options)


def test_a_worker_that_loses_the_race_retries_after_a_random_pause(store: ObjectStore) -> None:
    news, pauses = [ImageFeedback("img", 1, (Opinion(name="sea", wanted=True),), photo(1))], [[], []]  # type: ignore[var-annotated]
    for number, own in enumerate(pauses):
        ahead = Ahead(store, times=20)
        assert AdaptiveStore(ahead, f"b-{number}", D, pause=own.append).learn(news) is not None  # type: ignore[arg-type]
    assert [len(own) for own in pauses] == [20, 20]
    assert pauses[0] != pauses[1]
    assert all(0 <= pause <= 1 for own in pauses for pause in own)
    assert max(pauses[0][10:]) > max(pauses[0][:2]), "they grow"


def test_too_many_tags_are_logged_and_known_ones_are_still_learned(
    store: ObjectStore, clock: Clock, capsys: Any
) -> None:
    learned = AdaptiveStore(store, "colours-1", D)
    learned.learn(
        [ImageFeedback("img", 1, tuple(Opinion(name=f"t{n}", wanted=True) for n in range(MAX_TAGS)), photo(1))]
    )
    tagger = tagger_of(store, clock)
    (frame,) = pictures(BLUE)
    tagger.learn([FeedbackItem(said("img_1", 1, sea=True, lake=False, T7=True), frame)])
    state, _ = learned.load()
    assert len(state.statistics.tags) == MAX_TAGS
    assert state.statistics.tags["t7"].accepted.n == 2
    assert capsys.readouterr().out.count("new tags are left out: there are too many") == 1


class Away:
    """A store that does not answer."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store
        self.away = False

    def __getattr__(self, name: str) -> Any:
        if self.away:
            raise Unavailable("the store does not answer")
        return getattr(self._store, name)


def test_without_the_store_the_loaded_state_is_used(store: ObjectStore, clock: Clock) -> None:
    away = Away(store)
    tagger = tagger_of(away, clock)  # type: ignore[arg-type]
    teach(tagger, "rose", RED)
    teach(tagger, "leaf", GREEN)
    assert names(tagger, RED)[0] == "rose"
    away.away, clock.now = True, clock.now + LOOK_S
    assert names(tagger, RED)[0] == "rose"
    with pytest.raises(Unavailable):
        teach(tagger, "sea", BLUE)


def test_a_damaged_state_is_logged_and_the_loaded_one_is_used(store: ObjectStore, clock: Clock) -> None:
    tagger = tagger_of(store, clock)
    teach(tagger, "rose", RED)
    teach(tagger, "leaf", GREEN)
    assert names(tagger, RED)[0] == "rose"
    key = layout.adaptive_state_key("colours-1")
    store.put(key, store.get(key).data[:-50])
    clock.now += LOOK_S
    assert names(tagger, RED)[0] == "rose"
    for damaged in (lambda: teach(tagger, "sea", BLUE), lambda: tagger_of(store, clock)):
        with pytest.raises(WeightsInvalid, match=f"{key} in the store"):
            damaged()


def test_features_of_two_backbones_never_mix(store: ObjectStore) -> None:
    AdaptiveStore(store, "colours-1", D).learn([ImageFeedback("img", 1, (Opinion(name="sea", wanted=True),), photo(1))])
    assert AdaptiveStore(store, "colours-2", D).load()[0].version == 0
    with pytest.raises(WeightsInvalid, match="has 24 features, and colours-1 gives 7"):
        AdaptiveStore(store, "colours-1", 7).load()


def test_photos_without_feedback_are_stored_as_seen(store: ObjectStore, clock: Clock) -> None:
    tagger = tagger_of(store, clock)
    tagger.infer(pictures(GREEN, 8), [TagOptions()] * 8)
    teach(tagger, "rose", RED, count=2)
    assert AdaptiveStore(store, "colours-1", D).load()[0].statistics.seen.n == 8
    teach(tagger, "leaf", GREEN, count=2)
    assert AdaptiveStore(store, "colours-1", D).load()[0].statistics.seen.n == 8, "each is told once"


def test_seen_photos_are_stored_with_the_next_new_feedback(store: ObjectStore, clock: Clock) -> None:
    tagger = tagger_of(store, clock)
    teach(tagger, "rose", RED, count=2)
    tagger.infer(pictures(GREEN, 8), [TagOptions()] * 8)
    teach(tagger, "rose", RED, count=2)
    teach(tagger, "leaf", GREEN, count=2)
    state, _ = AdaptiveStore(store, "colours-1", D).load()
    assert (state.statistics.seen.n, state.version) == (8, 2)


def test_without_its_weights_another_backbone_is_used_and_named(settings: Settings, backend: Backend) -> None:
    pool = PoolSettings(tagger="adaptive")
    choice = selection.choose(pool, settings, backend.store)
    assert choice.name == "adaptive"
    assert "adaptive uses the backbone efficientnet-lite0: the weights of mobilenetv2 are missing" in choice.notice
    with pytest.raises(WeightsMissing, match="mobilenetv2"):
        selection.choose(pool, settings.model_copy(update={"backend": "aws"}), backend.store)


def test_images_without_feedback_have_no_features_stored(store: ObjectStore, clock: Clock) -> None:
    assert not tagger_of(store, clock).has_features_of("img")
    with pytest.raises(NotFound):
        store.get(layout.adaptive_state_key("colours-1"))
