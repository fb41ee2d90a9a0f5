"""Which of a classifier's labels become tags: top-k, confidence, cumulative; and near-ties."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from app_tier.engines import Engines
from app_tier.models.network_lookup import find_network
from app_tier.taggers.imagenet import ImageNetTagger, most_likely, softmax
from core.domain.messages import TagOptions

RESNET = find_network("resnet50")
FRAMES = np.zeros((3, 224, 224, 3), dtype=np.uint8)


class Fixed:
    """An engine that gives three labels these probabilities, and the others nearly none."""

    name = "fixed"
    best_batch = 8

    def __init__(self, *probabilities: float) -> None:
        self._outputs = np.full(1000, -20, dtype=np.float32)
        self._outputs[[3, 7, 11]] = np.log(probabilities)

    def infer(self, batch: np.ndarray) -> np.ndarray:
        return np.tile(self._outputs, (len(batch), 1))


def said(tagger: ImageNetTagger, *options: TagOptions) -> list[list[tuple[str, float]]]:
    predictions = tagger.infer(FRAMES[: len(options)], options)
    return [[(tag.name, round(tag.confidence or 0, 2)) for tag in one.tags] for one in predictions]


ALL_THREE = [("Tiger Shark", 0.6), ("Cock", 0.3), ("Goldfinch", 0.1)]


def test_options_of_the_batch_replace_the_defaults_of_the_pool() -> None:
    tagger = ImageNetTagger(RESNET, "0" * 64, Engines(Fixed(0.6, 0.3, 0.1)), TagOptions(top_k=5, min_confidence=0.05))
    found = said(tagger, TagOptions(), TagOptions(top_k=1), TagOptions(min_confidence=0.2))
    assert found == [ALL_THREE, ALL_THREE[:1], ALL_THREE[:2]]
    found = said(tagger, TagOptions(cumulative=0.89), TagOptions(cumulative=0.91), TagOptions(cumulative=0.5, top_k=3))
    assert found == [ALL_THREE[:2], ALL_THREE, ALL_THREE[:1]]


def test_a_pool_may_ask_for_the_smallest_set_by_default() -> None:
    tagger = ImageNetTagger(RESNET, "0" * 64, Engines(Fixed(0.6, 0.3, 0.1)), TagOptions(top_k=5, cumulative=0.55))
    assert said(tagger, TagOptions(), TagOptions(cumulative=0.8)) == [ALL_THREE[:1], ALL_THREE[:2]]


def test_a_temperature_lowers_confidences_and_keeps_the_order() -> None:
    mild = replace(RESNET, temperature=2.0)
    tagger = ImageNetTagger(mild, "0" * 64, Engines(Fixed(0.6, 0.3, 0.1)), TagOptions(top_k=3))
    (found,) = said(tagger, TagOptions())
    roots = np.sqrt([0.6, 0.3, 0.1])
    assert [name for name, _ in found] == [name for name, _ in ALL_THREE]
    # what the 997 other labels have of the rest is the same for all
    assert np.allclose([confidence for _, confidence in found], roots / (roots.sum() + 997 * np.exp(-10)), atol=0.01)
    assert said(tagger, TagOptions(min_confidence=0.55)) == [[]], "min_confidence looks at what came of it"


probabilities = st.lists(st.integers(1, 1000), min_size=1, max_size=50).map(
    lambda found: np.array(found, dtype=np.float32) / np.float32(sum(found))
)


shares = st.integers(0, 100).map(lambda percent: percent / 100)


@given(probabilities, st.none() | st.integers(1, 60), shares, shares)
def test_the_smallest_set(values: np.ndarray, top_k: int | None, min_confidence: float, cumulative: float) -> None:
    chosen = most_likely(values, top_k=top_k, min_confidence=min_confidence, cumulative=cumulative)
    found = values[chosen]
    assert len(set(chosen.tolist())) == len(chosen) <= (top_k or len(values))
    assert all(found[:-1] >= found[1:]), "the most likely first"
    assert not len(found) or min(found) >= min_confidence
    left_out = np.delete(values, chosen)
    if len(found) and len(left_out):
        assert left_out.max() <= found.min() or left_out.max() < min_confidence
    if cumulative and len(found) > 1:
        assert found[:-1].sum(dtype=np.float64) < cumulative, "one fewer would not have been enough"
    if len(found) < min(top_k or len(values), len(values)) and (left_out >= min_confidence).all():
        assert cumulative
        assert found.sum(dtype=np.float64) >= cumulative - 1e-5


def test_near_ties_are_settled() -> None:
    tagger = ImageNetTagger(
        RESNET, "0" * 64, Engines(Fixed(0.5, 0.49, 0.01), lambda: Fixed(0.49, 0.5, 0.01), 0.08), TagOptions(top_k=1)
    )
    assert said(tagger, TagOptions()) == [[("Cock", 0.5)]]
    assert (tagger.engine_name, tagger.best_batch) == ("fixed, near-ties in fp32", 8)


def test_softmax_of_huge_outputs() -> None:
    assert softmax(np.array([[1e4, 0.0]], dtype=np.float32)).tolist() == [[1.0, 0.0]]
