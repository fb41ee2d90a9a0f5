"""Batches as large as settings and tagger allow, each of one tagger, in the order in which images were decoded."""

from __future__ import annotations

import threading

from hypothesis import given
from hypothesis import strategies as st

from app_tier.pipeline.batching import Batching
from app_tier.pipeline.item import Work
from bench.deployment import wait_until
from core.domain.messages import Job
from core.storage.ports import Delivery
from tests.unit.app_tier.conftest import ColourTagger

SIZE = 4


def tagger(most_at_once: int | None) -> ColourTagger:
    made = ColourTagger()
    made.most_at_once = most_at_once
    return made


def decoded(by: ColourTagger, number: int = 0) -> Work:
    id = f"img_{number}"
    job = Job(batch_id="b", image_id=id, key="k", name="n", tagger="t", submitted_at=0.0)
    return Work(Delivery(id, id, 1, 0.0), job, tagger=by)


def batching(on_the_way: int = 0) -> Batching:
    return Batching(SIZE, 60, lambda: on_the_way)


FAST, SLOW, GREEDY = tagger(None), tagger(1), tagger(100)


@given(st.lists(st.sampled_from([FAST, SLOW, GREEDY]), max_size=10), st.integers(0, 3))
def test_none_is_lost_and_none_is_tagged_by_another(taggers: list[ColourTagger], each: int) -> None:
    gathered, found = batching(), []
    for number, by in enumerate(taggers):
        if by is SLOW or number % (each + 1) == 0:  # makes room: `put` waits for it
            while gathered._waiting:
                found.append(gathered.next())
        gathered.put(decoded(by, number))
    gathered.close()
    while batch := gathered.next():
        found.append(batch)
    assert [work.tagger for batch in found for work in batch] == taggers
    assert [work.job.image_id for batch in found for work in batch] == [f"img_{n}" for n in range(len(taggers))]
    for batch in found:
        assert len({id(work.tagger) for work in batch}) == 1
        assert len(batch) <= (1 if batch[0].tagger is SLOW else SIZE)


def test_a_full_batch_waits_for_nobody_and_one_that_is_not_waits_for_those_on_the_way() -> None:
    gathered, found = batching(on_the_way=1), []
    thread = threading.Thread(target=lambda: found.append(gathered.next()), daemon=True)
    thread.start()
    for number in range(SIZE):
        assert not found
        gathered.put(decoded(FAST, number))
    wait_until(lambda: bool(found))
    assert len(found[0]) == SIZE
    gathered.put(decoded(SLOW))
    assert len(gathered.next()) == 1


def test_decoding_goes_only_so_far_ahead_of_a_tagger() -> None:
    gathered = batching()
    for number in range(3):
        gathered.put(decoded(SLOW, number))
    ahead = threading.Thread(target=gathered.put, args=(decoded(SLOW, 3),), daemon=True)
    ahead.start()
    assert [len(gathered.next()) for _ in range(4)] == [1] * 4
    wait_until(lambda: not ahead.is_alive())
    gathered.close()
    assert gathered.next() == []
