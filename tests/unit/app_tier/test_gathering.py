"""Groups of finished images: full where requests cost money, never at the price of waiting for nobody."""

from __future__ import annotations

import threading
import time

import pytest

from app_tier.pipeline.in_flight import Held
from app_tier.pipeline.result_batching import Gathering
from app_tier.pipeline.result_writer import Finished
from core.domain.messages import Result
from core.local.queue import LocalQueue
from core.storage.ports import Delivery


@pytest.fixture
def held(tmp_path):
    queue = LocalQueue(tmp_path / "queues.db", "jobs", visibility_timeout_s=30, max_receives=3)
    return Held(queue, limit=100, visibility_timeout_s=30, clock=time.monotonic)


def images(held: Held, first: int, count: int) -> list[Finished]:
    deliveries = [Delivery(str(number), f"{number}:a", 1, 0.0) for number in range(first, first + count)]
    held.add(deliveries)
    return [
        Finished(delivery, Result(batch_id="b", image_id=delivery.body, name="n", tagger="t"))
        for delivery in deliveries
    ]


def test_full_groups_go_out_and_the_rest_stays_for_those_to_come(held):
    gathering = Gathering(held, per_request=10, limit=32)
    all_ = images(held, 0, 27)
    gathering.put(all_[:8])
    gathering.put(all_[8:24])
    assert [gathering.next(), gathering.next()] == [all_[:10], all_[10:20]]
    gathering.put(all_[24:])
    assert gathering.next() == all_[20:]


def test_what_nobody_can_join_goes_at_once(held):
    gathering = Gathering(held, per_request=10, limit=32)
    [only] = images(held, 0, 1)
    gathering.put([only])
    assert gathering.next() == [only]


def test_what_others_may_join_does_not_wait_for_ever(held):
    gathering = Gathering(held, per_request=10, limit=32, gather_s=0.02)
    first, _in_a_hung_decode = images(held, 0, 2)
    gathering.put([first])
    assert gathering.next() == [first]


def test_what_is_being_delivered_is_nothing_to_wait_for(held):
    gathering = Gathering(held, per_request=2, limit=32)
    all_ = images(held, 0, 3)
    gathering.put(all_)
    assert gathering.next() == all_[:2]
    assert gathering.next() == all_[2:]
    assert not gathering.wait_until_delivered(0)
    gathering.delivered(all_)
    assert gathering.wait_until_delivered(0)


def test_where_requests_cost_nothing_all_goes_at_once(held):
    gathering = Gathering(held, per_request=1, limit=32)
    all_ = images(held, 0, 20)
    gathering.put(all_[:8])
    gathering.put(all_[8:12])
    assert gathering.next() == all_[:12]


def test_a_full_gathering_holds_its_stages_back(held):
    gathering = Gathering(held, per_request=10, limit=10)
    all_ = images(held, 0, 30)
    gathering.put(all_[:10])
    later = threading.Thread(target=lambda: gathering.put(all_[10:]))
    later.start()
    assert gathering.next() == all_[:10]
    later.join(120)
    assert gathering.next() == all_[10:20]


def test_closed_it_gives_what_is_left_and_then_nothing(held):
    gathering = Gathering(held, per_request=10, limit=32)
    all_ = images(held, 0, 5)
    gathering.put(all_[:3])
    gathering.close()
    assert gathering.next() == all_[:3]
    assert gathering.next() == []
