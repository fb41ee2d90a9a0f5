"""Groups of results: full where requests cost money, without waiting for images that cannot come."""

from __future__ import annotations

import threading
import time

import pytest

from app_tier.pipeline.in_flight import InFlight
from app_tier.pipeline.result_batching import GroupRule, ResultBatcher
from app_tier.pipeline.result_writer import FinishedItem
from core.domain.messages import Result
from core.local.queue import LocalQueue
from core.storage.ports import Delivery


@pytest.fixture
def in_flight(tmp_path):
    queue = LocalQueue(tmp_path / "queues.db", "jobs", visibility_timeout_s=30, max_receives=3)
    return InFlight(queue, limit=100, visibility_timeout_s=30, clock=time.monotonic)


@pytest.fixture
def draining():
    return threading.Event()


@pytest.fixture
def make(in_flight, draining):
    def make(per_request: int = 10, limit: int = 32, **rules: GroupRule) -> ResultBatcher:
        return ResultBatcher(in_flight, per_request=per_request, limit=limit, draining=draining, **rules)

    return make


def images(in_flight: InFlight, first: int, count: int, *, pack: bool = False) -> list[FinishedItem]:
    deliveries = [Delivery(str(number), f"{number}:a", 1, 0.0) for number in range(first, first + count)]
    in_flight.add(deliveries)
    return [
        FinishedItem(delivery, Result(batch_id="b", image_id=delivery.body, name="n", tagger="t"), pack=pack)
        for delivery in deliveries
    ]


def test_full_groups_go_out_and_the_rest_waits_for_others(in_flight, make):
    batcher = make()
    all_ = images(in_flight, 0, 27)
    batcher.put(all_[:8])
    batcher.put(all_[8:24])
    assert [batcher.next(), batcher.next()] == [all_[:10], all_[10:20]]
    batcher.put(all_[24:])
    assert batcher.next() == all_[20:]


def test_a_group_that_no_image_can_join_goes_at_once(in_flight, make):
    batcher = make()
    [only] = images(in_flight, 0, 1)
    batcher.put([only])
    assert batcher.next() == [only]


def test_a_group_waits_a_limited_time(in_flight, make):
    batcher = make(send=GroupRule(10, 0.02))
    first, _in_a_hung_decode = images(in_flight, 0, 2)
    batcher.put([first])
    assert batcher.next() == [first]


def test_images_that_are_being_written_are_not_waited_for(in_flight, make):
    batcher = make(per_request=2, limit=32)
    all_ = images(in_flight, 0, 3)
    batcher.put(all_)
    assert batcher.next() == all_[:2]
    assert batcher.next() == all_[2:]
    assert not batcher.wait_until_written(0)
    batcher.mark_written(all_)
    assert batcher.wait_until_written(0)


def test_where_requests_are_free_all_goes_at_once(in_flight, make):
    batcher = make(per_request=1, limit=32)
    all_ = images(in_flight, 0, 20)
    batcher.put(all_[:8])
    batcher.put(all_[8:12])
    assert batcher.next() == all_[:12]


def test_a_full_batcher_holds_its_stages_back(in_flight, make):
    batcher = make(per_request=10, limit=10)
    all_ = images(in_flight, 0, 30)
    batcher.put(all_[:10])
    later = threading.Thread(target=lambda: batcher.put(all_[10:]))
    later.start()
    assert batcher.next() == all_[:10]
    later.join(120)
    assert batcher.next() == all_[10:20]


def test_once_closed_it_gives_the_rest_and_then_nothing(in_flight, make):
    batcher = make()
    all_ = images(in_flight, 0, 5)
    batcher.put(all_[:3])
    batcher.close()
    assert batcher.next() == all_[:3]
    assert batcher.next() == []


LONG_S = 3600.0


def test_results_to_pack_wait_for_a_full_pack_though_nothing_else_is_in_flight(in_flight, make):
    batcher = make(pack=GroupRule(200, LONG_S, idle_s=LONG_S))
    all_ = images(in_flight, 0, 230, pack=True)
    batcher.put(all_[:150])
    sent = images(in_flight, 300, 3)
    batcher.put(sent)
    assert batcher.next() == sent
    batcher.put(all_[150:])
    assert batcher.next() == all_[:200]
    batcher.close()
    assert batcher.next() == all_[200:]
    assert batcher.next() == []


@pytest.mark.parametrize("rule", [GroupRule(200, 0.02, LONG_S), GroupRule(200, LONG_S, 0.02)], ids=["age", "idle"])
def test_a_pack_waits_a_limited_time(in_flight, make, rule):
    batcher = make(pack=rule)
    all_ = images(in_flight, 0, 3, pack=True)
    batcher.put(all_)
    assert batcher.next() == all_


def test_a_suspect_holds_no_pack_up(in_flight, make):
    """A suspect may wait until nothing else is in flight."""
    batcher = make(pack=GroupRule(200, LONG_S, 0.02))
    *finished, suspect = images(in_flight, 0, 3, pack=True)
    in_flight.mark_suspect(suspect.delivery)
    batcher.put(finished)
    assert batcher.next() == finished


def test_a_drain_flushes_what_waits(in_flight, make, draining):
    batcher = make(pack=GroupRule(200, LONG_S, LONG_S), send=GroupRule(10, LONG_S))
    _unfinished = images(in_flight, 500, 1)
    packed, sent = images(in_flight, 0, 7, pack=True), images(in_flight, 100, 2)
    batcher.put([*packed, *sent])
    groups = []
    reader = threading.Thread(target=lambda: groups.extend([batcher.next(), batcher.next()]))
    reader.start()
    draining.set()
    reader.join(60)
    assert groups == [sent, packed]


def test_waiting_results_leave_room_for_other_images(tmp_path, draining):
    queue = LocalQueue(tmp_path / "queues.db", "jobs", visibility_timeout_s=30, max_receives=3)
    in_flight = InFlight(queue, limit=10, visibility_timeout_s=30, clock=time.monotonic)
    batcher = ResultBatcher(in_flight, per_request=10, limit=32, draining=draining)
    all_ = images(in_flight, 0, 10, pack=True)
    assert in_flight.room == 0
    batcher.put(all_)
    assert in_flight.reserve(10, 10, 0) == 10
    assert len(in_flight) == 10


def test_where_requests_are_free_packs_do_not_wait_either(in_flight, make):
    batcher = make(per_request=1)
    [only] = images(in_flight, 0, 1, pack=True)
    batcher.put([only])
    assert batcher.next() == [only]
