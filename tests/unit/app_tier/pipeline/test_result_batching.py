"""Groups of results: full where requests cost money, without waiting for images that cannot come."""

from __future__ import annotations

import threading
import time

import pytest

from app_tier.pipeline.in_flight import InFlight
from app_tier.pipeline.result_batching import ResultBatcher
from app_tier.pipeline.result_writer import FinishedItem
from core.domain.messages import Result
from core.local.queue import LocalQueue
from core.storage.ports import Delivery


@pytest.fixture
def in_flight(tmp_path):
    queue = LocalQueue(tmp_path / "queues.db", "jobs", visibility_timeout_s=30, max_receives=3)
    return InFlight(queue, limit=100, visibility_timeout_s=30, clock=time.monotonic)


def images(in_flight: InFlight, first: int, count: int) -> list[FinishedItem]:
    deliveries = [Delivery(str(number), f"{number}:a", 1, 0.0) for number in range(first, first + count)]
    in_flight.add(deliveries)
    return [
        FinishedItem(delivery, Result(batch_id="b", image_id=delivery.body, name="n", tagger="t"))
        for delivery in deliveries
    ]


def test_full_groups_go_out_and_the_rest_waits_for_others(in_flight):
    batcher = ResultBatcher(in_flight, per_request=10, limit=32)
    all_ = images(in_flight, 0, 27)
    batcher.put(all_[:8])
    batcher.put(all_[8:24])
    assert [batcher.next(), batcher.next()] == [all_[:10], all_[10:20]]
    batcher.put(all_[24:])
    assert batcher.next() == all_[20:]


def test_a_group_that_no_image_can_join_goes_at_once(in_flight):
    batcher = ResultBatcher(in_flight, per_request=10, limit=32)
    [only] = images(in_flight, 0, 1)
    batcher.put([only])
    assert batcher.next() == [only]


def test_a_group_waits_a_limited_time(in_flight):
    batcher = ResultBatcher(in_flight, per_request=10, limit=32, max_wait_s=0.02)
    first, _in_a_hung_decode = images(in_flight, 0, 2)
    batcher.put([first])
    assert batcher.next() == [first]


def test_images_that_are_being_written_are_not_waited_for(in_flight):
    batcher = ResultBatcher(in_flight, per_request=2, limit=32)
    all_ = images(in_flight, 0, 3)
    batcher.put(all_)
    assert batcher.next() == all_[:2]
    assert batcher.next() == all_[2:]
    assert not batcher.wait_until_written(0)
    batcher.mark_written(all_)
    assert batcher.wait_until_written(0)


def test_where_requests_are_free_all_goes_at_once(in_flight):
    batcher = ResultBatcher(in_flight, per_request=1, limit=32)
    all_ = images(in_flight, 0, 20)
    batcher.put(all_[:8])
    batcher.put(all_[8:12])
    assert batcher.next() == all_[:12]


def test_a_full_batcher_holds_its_stages_back(in_flight):
    batcher = ResultBatcher(in_flight, per_request=10, limit=10)
    all_ = images(in_flight, 0, 30)
    batcher.put(all_[:10])
    later = threading.Thread(target=lambda: batcher.put(all_[10:]))
    later.start()
    assert batcher.next() == all_[:10]
    later.join(120)
    assert batcher.next() == all_[10:20]


def test_once_closed_it_gives_the_rest_and_then_nothing(in_flight):
    batcher = ResultBatcher(in_flight, per_request=10, limit=32)
    all_ = images(in_flight, 0, 5)
    batcher.put(all_[:3])
    batcher.close()
    assert batcher.next() == all_[:3]
    assert batcher.next() == []
