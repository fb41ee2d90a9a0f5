"""The stand-in's SQS, as our queue asks for it."""

from __future__ import annotations

import threading

import pytest

from bench.small_cloud.process import SmallCloud
from core.storage.ports import Delivery, Queue
from core.wiring import Backend


@pytest.fixture
def queue(backend: Backend) -> Queue:
    return backend.jobs("resnet50")


def test_messages_arrive_once_and_are_counted(queue: Queue) -> None:
    queue.send([f"message {number}" for number in range(25)])
    first = queue.receive(20, 0)
    assert [delivery.body for delivery in first] == [f"message {number}" for number in range(20)]
    depth = queue.depth()
    assert (depth.visible, depth.in_flight, depth.dead) == (5, 20, 0)
    queue.delete(first)
    assert queue.depth().outstanding == 5


def test_a_long_poll_ends_when_a_message_is_sent(queue: Queue) -> None:
    found: list[Delivery] = []
    waiting = threading.Thread(target=lambda: found.extend(queue.receive(10, 20)))
    waiting.start()
    queue.send(["late"])
    waiting.join(10)
    assert [delivery.body for delivery in found] == ["late"]


def test_a_released_message_comes_back_with_its_count(queue: Queue) -> None:
    queue.send(["again"])
    [first] = queue.receive(1, 0)
    assert queue.receive(1, 0) == []
    queue.set_visibility([first], 0)
    [second] = queue.receive(1, 0)
    assert (first.receive_count, second.receive_count) == (1, 2)
    queue.delete([first])  # outdated, so it deletes nothing
    assert queue.depth().in_flight == 1


def test_a_message_comes_back_to_a_poll_that_waits_for_it(queue: Queue) -> None:
    queue.send(["hidden"])
    [first] = queue.receive(1, 0)
    queue.set_visibility([first], 1)
    [second] = queue.receive(1, 20)
    assert second.receive_count == 2


def test_a_message_that_comes_back_too_often_is_a_dead_letter(queue: Queue) -> None:
    queue.send(["poison"])
    for _ in range(10):
        queue.set_visibility(queue.receive(1, 0), 0)
    assert queue.receive(1, 0) == []
    assert [letter.body for letter in queue.dead_letters().receive(1, 0)] == ["poison"]


def test_requests_are_counted_by_operation(queue: Queue, cloud: SmallCloud) -> None:
    queue.send(["a"] * 20)
    queue.delete(queue.receive(20, 0))
    assert cloud.requests() == {
        "sqs.GetQueueUrl": 1,
        "sqs.SendMessageBatch": 2,
        "sqs.ReceiveMessage": 2,
        "sqs.DeleteMessageBatch": 2,
    }
    cloud.reset()
    assert not cloud.requests()
