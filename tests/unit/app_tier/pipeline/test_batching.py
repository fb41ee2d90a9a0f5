"""Batches are as large as settings and tagger allow, of one tagger each, in the order of decoding."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from app_tier.pipeline.batching import InferenceBatcher
from app_tier.pipeline.item import WorkItem
from bench.deployment import wait_until
from core.domain.messages import Job
from core.storage.ports import Delivery
from tests.unit.app_tier.conftest import ColourTagger

SIZE = 4


def tagger(most_at_once: int | None) -> ColourTagger:
    made = ColourTagger()
    made.most_at_once = most_at_once
    return made


def decoded(by: ColourTagger, number: int = 0) -> WorkItem:
    id = f"img_{number}"
    job = Job(batch_id="b", image_id=id, key="k", name="n", tagger="t", submitted_at=0.0)
    return WorkItem(Delivery(id, id, 1, 0.0), job, tagger=by)


def make_batcher(expected: int = 0) -> InferenceBatcher:
    return InferenceBatcher(SIZE, 60, lambda: expected)


FAST, SLOW, GREEDY = tagger(None), tagger(1), tagger(100)


@given(st.lists(st.sampled_from([FAST, SLOW, GREEDY]), max_size=10), st.integers(0, 3))
def test_no_image_is_lost_or_tagged_by_another_tagger(taggers: list[ColourTagger], each: int) -> None:
    batcher, found = make_batcher(), []
    for number, by in enumerate(taggers):
        if by is SLOW or number % (each + 1) == 0:  # makes room: `put` waits for it
            while len(batcher):
                found.append(batcher.next())
        batcher.put(decoded(by, number))
    batcher.close()
    while batch := batcher.next():
        found.append(batch)
    assert [work.tagger for batch in found for work in batch] == taggers
    assert [work.job.image_id for batch in found for work in batch] == [f"img_{n}" for n in range(len(taggers))]
    for batch in found:
        assert len({id(work.tagger) for work in batch}) == 1
        assert len(batch) <= (1 if batch[0].tagger is SLOW else SIZE)


def test_a_full_batch_goes_at_once_and_another_waits_for_those_expected() -> None:
    batcher, found = make_batcher(expected=1), []
    thread = threading.Thread(target=lambda: found.append(batcher.next()), daemon=True)
    thread.start()
    for number in range(SIZE):
        assert not found
        batcher.put(decoded(FAST, number))
    wait_until(lambda: bool(found))
    assert len(found[0]) == SIZE
    batcher.put(decoded(SLOW))
    assert len(batcher.next()) == 1


def test_decoding_goes_only_so_far_ahead_of_a_tagger() -> None:
    batcher = make_batcher()
    for number in range(3):
        batcher.put(decoded(SLOW, number))
    ahead = threading.Thread(target=batcher.put, args=(decoded(SLOW, 3),), daemon=True)
    ahead.start()
    assert [len(batcher.next()) for _ in range(4)] == [1] * 4
    wait_until(lambda: not ahead.is_alive())
    batcher.close()
    assert batcher.next() == []
