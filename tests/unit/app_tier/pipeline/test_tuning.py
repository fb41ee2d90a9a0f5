"""Throughput of the stages, and how their threads follow it."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from app_tier.pipeline.crew import Crew
from app_tier.pipeline.in_flight import InFlight
from app_tier.pipeline.sizing import Resources, Sizing
from app_tier.pipeline.tuning import Meter, Tuner
from config.settings import Settings
from core.storage.memory_queue import MemoryQueues


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class World:
    """A stage whose pieces take `latency_s`, and a device that takes `most` of them a second. In virtual time."""

    def __init__(self, settings: Settings, per_request: int) -> None:
        self.clock = Clock()
        queue = MemoryQueues(visibility_timeout_s=30, max_receives=3).open("jobs")
        self.in_flight = InFlight(queue, limit=64, visibility_timeout_s=30, clock=time.monotonic)
        sizing = Sizing(settings.worker, 8, per_request, Resources(2, 4096))
        first = sizing.first()
        self.fetch = Crew("fetch", lambda: False, lambda loop: loop(), first.fetch_threads)
        self.finish = Crew("finish", lambda: False, lambda loop: loop(), first.finish_threads)
        self.tuner = Tuner(sizing, self.fetch, self.finish, self.in_flight, self.clock)

    def work(self, report: Callable[[], None], threads: Callable[[], int], latency_s: float, most: float) -> None:
        """Work for ten seconds with as many threads as there are."""
        until = self.clock.now + 10
        while self.clock.now < until:
            self.clock.now += max(latency_s / threads(), 1 / most)
            report()


@pytest.fixture
def remote(settings: Settings) -> World:
    return World(settings, per_request=10)


@pytest.fixture
def local(settings: Settings) -> World:
    return World(settings, per_request=1)


@pytest.mark.parametrize(("latency_s", "most", "busy"), [(0.03, 700, 21), (0.015, 700, 10.5), (0.03, 200, 6)])
def test_fetches_grow_until_the_device_is_busy(remote: World, latency_s: float, most: float, busy: float) -> None:
    remote.work(lambda: remote.tuner.fetched(latency_s), lambda: remote.fetch.size, latency_s, most)
    assert busy < remote.fetch.size <= 1.5 * busy + 1.5


def test_writing_grows_and_messages_in_flight_follow(remote: World) -> None:
    """Groups of ten, each stored, sent and acknowledged in 90 ms."""
    remote.work(lambda: remote.tuner.finished(0.09, 10), lambda: remote.finish.size, 0.09, 70)
    assert 6.3 < remote.finish.size <= 11
    assert 1000 <= remote.in_flight.limit <= 1150


def test_a_disk_needs_no_more_threads(local: World) -> None:
    local.work(lambda: local.tuner.fetched(0.0002), lambda: 1, 0.0002, 3000)
    local.work(lambda: local.tuner.finished(0.004, 8), lambda: 1, 0.004, 100)
    assert (local.fetch.size, local.finish.size) == (2, 2)


def test_a_busy_processor_is_no_reason_for_more_threads(local: World) -> None:
    local.work(lambda: local.tuner.fetched(0.0005), lambda: 1, 0.0005, 1000)
    local.work(lambda: local.tuner.fetched(0.01), lambda: 1, 0.001, 1000)
    assert local.fetch.size == 2


def test_threads_go_when_there_is_less_to_do(remote: World) -> None:
    remote.work(lambda: remote.tuner.fetched(0.03), lambda: remote.fetch.size, 0.03, 700)
    remote.work(lambda: remote.tuner.fetched(0.03), lambda: remote.fetch.size, 0.03, 50)
    assert remote.fetch.size <= 3


def test_idle_time_says_nothing_about_the_rate(remote: World) -> None:
    remote.work(lambda: remote.tuner.fetched(0.03), lambda: remote.fetch.size, 0.03, 700)
    busy = remote.fetch.size
    remote.clock.now += 3600
    for _ in range(8):
        remote.clock.now += 0.00001
        remote.tuner.fetched(0.03)
    assert remote.fetch.size == busy


def test_a_meter_measures_rate_images_and_the_lowest_latency() -> None:
    clock = Clock()
    meter = Meter(clock)
    measured = []
    for latency_s in (0.02, 0.04):
        for _ in range(60):
            clock.now += 0.01
            measured += [each] if (each := meter.record(latency_s, images=8)) else []
    assert len(measured) >= 10
    assert measured[-1].rate == pytest.approx(100, rel=0.1)
    assert measured[-1].images == pytest.approx(800, rel=0.1)
    assert measured[-1].latency_s == pytest.approx(0.02)
