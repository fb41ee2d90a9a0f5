"""Results reach the catalogue: one per image, even if some come twice, late, broken or never."""

from __future__ import annotations

import threading

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core.domain.messages import OutputMessage, Result, Tag, encode
from core.errors import Unavailable
from core.storage import layout
from web_tier.catalog.batches import Batch, Upload
from web_tier.catalog.results import ImageOutcome


def fill(web, count: int) -> tuple[str, list]:
    batch = web.batch()
    web.upload(batch, *((f"{number}.jpg", b"%d" % number) for number in range(count)))
    return batch, web.jobs()


def test_the_same_result_twice_counts_once(web):
    batch, (job,) = fill(web, 1)
    web.finish(web.result_of(job, tag="dog"), web.result_of(job, tag="cat"))
    assert web.collect() == 1
    web.finish(web.result_of(job, error="too late"))
    assert web.collect() == 0
    (item,) = web.get(f"/batches/{batch}/results")["results"]
    assert [tag["name"] for tag in item["tags"]] == ["dog"]
    assert web.get(f"/batches/{batch}")["request_counts"] == {"total": 1, "completed": 1, "failed": 0, "cancelled": 0}
    assert web.backend.results.depth().outstanding == 0


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(data=st.data())
def test_counts_and_numbers_hold_for_any_order_of_results(web, data):
    """Whatever arrives, and however it is grouped: counts fit the items, and each item's change number is its own."""
    made = web.catalog.create_batch(
        Batch(web.clock.now.hex(), "p", {}, {}, 0.0, None, None, 0, 0, 0, 0), payload_hash=""
    )[0]
    web.clock.now += 1
    ids = [f"{made.id}-{number}" for number in range(4)]
    web.catalog.add_images(made.id, [Upload(id_, id_, id_, 1) for id_ in ids], 0.0)
    arrivals = data.draw(st.lists(st.tuples(st.sampled_from(ids), st.booleans(), st.booleans()), max_size=12))
    outcomes = [
        ImageOutcome(
            made.id, id_, id_, "broken" if failed or lost else None, [], None, None, "t", 1.0, provisional=lost
        )
        for id_, failed, lost in arrivals
    ]
    closing = data.draw(st.integers(0, len(outcomes)))
    expected: dict[str, ImageOutcome] = {}
    for outcome in outcomes:
        if outcome.image_id not in expected or (expected[outcome.image_id].provisional and not outcome.provisional):
            expected[outcome.image_id] = outcome
    at = 0
    while at < len(outcomes):
        if at <= closing:
            web.catalog.close_batch(made.id, 2.0)
        size = data.draw(st.integers(1, len(outcomes) - at))
        web.catalog.record(outcomes[at : at + size], 3.0)
        at += size
    web.catalog.close_batch(made.id, 4.0)

    batch = web.catalog.get_batch(made.id)
    items = web.catalog.list_changes(made.id, 0, 100)
    assert {item.id: item.error for item in items if item.tagger} == {i: o.error for i, o in expected.items()}
    assert batch.completed == len(expected)
    assert batch.failed == sum(outcome.error is not None for outcome in expected.values())
    assert (batch.status == "completed") == (len(expected) == len(ids))
    assert len({item.change for item in items}) == len(items)
    assert max(item.change for item in items) <= batch.change


def test_a_result_of_an_unknown_image_is_acknowledged(web):
    _, (job,) = fill(web, 1)
    web.finish(web.result_of(job.model_copy(update={"image_id": "img_unknown"})))
    assert web.collect() == 0
    assert web.backend.results.depth().outstanding == 0


def test_a_message_that_cannot_be_read_is_left_and_the_others_are_not(web):
    batch, (job,) = fill(web, 1)
    web.backend.results.send(["{}", "no json", encode(OutputMessage(key="k", value=(), result_key="../x"))])
    web.finish(web.result_of(job))
    assert web.collect() == 1
    assert web.backend.results.depth().outstanding == 3
    assert web.get(f"/batches/{batch}")["request_counts"]["completed"] == 1


def test_a_large_result_is_read_from_the_store(web):
    batch, (job,) = fill(web, 1)
    tags = tuple(Tag(name="x" * 1000 + str(number), confidence=0.1) for number in range(300))
    web.finish(web.result_of(job).model_copy(update={"tags": tags}))
    assert web.collect() == 1
    (item,) = web.get(f"/batches/{batch}/results")["results"]
    assert len(item["tags"]) == 300


def test_a_result_whose_message_was_lost_is_found_in_the_store(web):
    batch, (first, second) = fill(web, 2)
    web.close(batch)
    web.keep(web.result_of(first))
    web.backend.store.put(layout.result_key(batch, second.image_id), b"damaged")
    assert web.collector.reconcile(quiet_s=60) == 0, "a batch in which something happens is left alone"
    web.clock.now += 61
    assert web.collector.reconcile(quiet_s=60) == 1
    assert web.collector.reconcile(quiet_s=0) == 0
    web.keep(web.result_of(second))
    assert web.collector.reconcile(quiet_s=0) == 1
    assert web.get(f"/batches/{batch}")["status"] == "completed"


class Locked:
    """A catalogue that does not answer for some calls."""

    def __init__(self, catalog, calls: int) -> None:
        self._catalog = catalog
        self.calls = calls

    def __getattr__(self, name: str):
        return getattr(self._catalog, name)

    def record(self, outcomes, now):
        self.calls -= 1
        if self.calls >= 0:
            raise Unavailable("catalogue: locked")
        return self._catalog.record(outcomes, now)


def test_nothing_is_lost_while_the_catalogue_is_locked(web):
    batch, jobs = fill(web, 3)
    web.finish(*map(web.result_of, jobs))
    web.collector._catalog = Locked(web.catalog, calls=2)
    assert web.collector.collect(wait_s=0) == 3
    assert web.backend.results.depth().outstanding == 0
    assert web.get(f"/batches/{batch}")["request_counts"]["completed"] == 3


def test_a_collector_that_is_stopped_while_the_catalogue_is_locked_keeps_the_messages(web):
    _, jobs = fill(web, 2)
    web.finish(*map(web.result_of, jobs))
    stop = threading.Event()
    stop.set()
    web.collector._catalog = Locked(web.catalog, calls=99)
    with pytest.raises(Unavailable):
        web.collector.collect(stop, wait_s=0)
    assert web.backend.results.depth().outstanding == 2


def test_it_runs_until_it_is_stopped(web):
    batch, jobs = fill(web, 5)
    stop = threading.Event()
    thread = threading.Thread(target=web.collector.run, args=(stop,))
    thread.start()
    try:
        web.finish(*map(web.result_of, jobs))
        web.close(batch)
        events = web.client.get(f"/api/v1/batches/{batch}/events")
        assert "event: completed" in events.text
    finally:
        stop.set()
        thread.join(timeout=60)
    assert not thread.is_alive()


def test_a_result_of_an_image_keeps_what_the_worker_said(web):
    _, (job,) = fill(web, 1)
    result = Result(
        batch_id=job.batch_id,
        image_id=job.image_id,
        name=job.name,
        tagger="resnet50@1",
        tags=(Tag(name="dog", confidence=None),),
        caption="a dog",
        finished_at=1_800_000_001.5,
    )
    web.finish(result)
    web.collect()
    item = web.get(f"/images/{job.image_id}")
    assert item["tags"][0]["confidence"] is None
    assert (item["caption"], item["tagger"]) == ("a dog", "resnet50@1")
    assert item["finished_at"] == "2027-01-15T08:00:01.500+00:00"


def test_a_sweep_gives_back_the_space_of_delivered_messages(web):
    queue = web.backend.jobs("resnet50")
    queue.send(["x" * 20_000] * 1_000)
    queue.delete(queue.receive(1_000, 0))
    file = web.settings.home / "queues.db"
    assert file.stat().st_size > 16 << 20
    web.collector.sweep()
    assert file.stat().st_size < 1 << 20


def test_a_sweep_goes_on_though_the_space_cannot_be_given_back(web, monkeypatch):
    def fail(_path):
        raise Unavailable("cannot use queues.db: the disk is full")

    monkeypatch.setattr("core.local.queue_upkeep.shrink", fail)
    web.collector.sweep()
