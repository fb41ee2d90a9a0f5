"""Sizes of a worker: by Little's law, by its machine and engine, and always by its settings first."""

from __future__ import annotations

import math
import platform

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_tier.pipeline.resources import measure_resources, return_large_blocks
from app_tier.pipeline.sizing import HEADROOM, LARGEST_PREFETCH, PREFETCHED_S, Resources, Sizes, Sizing
from config import settings as config
from config.settings import WorkerSettings

TWO_CORES = Resources(cores=2, memory_mb=4096)
rates = st.floats(0.01, 20_000)
latencies = st.floats(0.00001, 2.0)
batches = st.integers(1, 512)
per_request = st.sampled_from([1, 10])


def sizing(batch: int = 8, per_request: int = 1, resources: Resources = TWO_CORES, **changes: int) -> Sizing:
    return Sizing(worker(**changes), batch, per_request, resources)


def worker(**changes: int) -> WorkerSettings:
    return config.load({}, flags={f"worker.{name}": value for name, value in changes.items()}).worker


def test_one_machine_of_two_cores_begins_with_few_threads() -> None:
    assert sizing().first() == Sizes(batch=8, prefetch=64, fetch_threads=2, decode_threads=2, finish_threads=2)


def test_where_requests_cost_money_groups_of_a_hundred_results_fit() -> None:
    assert sizing(per_request=10).first().prefetch >= 256
    assert sizing(per_request=10).prefetch(92.0) >= 256


def test_a_slow_engine_holds_few_messages() -> None:
    """A network that takes seconds for a picture: others could do what this worker holds."""
    slow = sizing(batch=1, per_request=10)
    assert [slow.prefetch(rate) for rate in (None, 0.1, 1.0)] == [8, 8, 8]


@pytest.mark.parametrize(
    ("rate", "latency_s", "threads"), [(700, 0.03, 32), (3600, 0.0002, 2), (60, 0.001, 2), (5000, 0.03, 64)]
)
def test_threads_of_known_stores(rate: float, latency_s: float, threads: int) -> None:
    assert sizing(per_request=10).fetch_threads(rate, latency_s) == threads
    assert sizing(per_request=10).finish_threads(rate, latency_s) == threads


def test_decoders_by_cores_and_memory() -> None:
    def decoders(cores: int, memory_mb: int) -> int:
        return sizing(resources=Resources(cores, memory_mb)).first().decode_threads

    assert [decoders(1, 4096), decoders(8, 16_384), decoders(8, 2048), decoders(96, 1 << 20)] == [2, 8, 4, 16]


def test_settings_win() -> None:
    given = {"batch_size": 3, "prefetch": 5, "fetch_threads": 7, "decode_threads": 9, "finish_threads": 11}
    ours = sizing(64, 10, **given)
    assert ours.first() == Sizes(3, 5, 7, 9, 11)
    assert (ours.prefetch(1e4), ours.fetch_threads(1e4, 1.0), ours.finish_threads(1e4, 1.0)) == (5, 7, 11)


@given(rates, latencies, per_request)
def test_threads_cover_what_is_under_way(rate: float, latency_s: float, per_request: int) -> None:
    threads = sizing(per_request=per_request).fetch_threads(rate, latency_s)
    most = 64 if per_request > 1 else 16
    assert 2 <= threads <= most
    assert threads >= min(most, rate * latency_s), "Little's law"
    assert threads <= max(2, math.ceil(HEADROOM * rate * latency_s)), "and no more than its headroom"


@given(rates, st.floats(1.0, 4.0), latencies)
def test_more_work_never_means_fewer_threads(rate: float, factor: float, latency_s: float) -> None:
    ours = sizing(per_request=10)
    assert ours.fetch_threads(rate * factor, latency_s) >= ours.fetch_threads(rate, latency_s)
    assert ours.fetch_threads(rate, latency_s * factor) >= ours.fetch_threads(rate, latency_s)


@given(rates, batches, per_request)
def test_no_worker_hoards(rate: float, batch: int, per_request: int) -> None:
    prefetch = sizing(batch, per_request).prefetch(rate)
    assert prefetch <= LARGEST_PREFETCH
    some_batches, groups = 8 * batch, 10 * rate
    assert prefetch <= max(some_batches, groups, math.ceil(PREFETCHED_S * rate))
    assert prefetch >= min(LARGEST_PREFETCH, some_batches), "there is always a batch ahead"
    assert prefetch >= min(LARGEST_PREFETCH, PREFETCHED_S * rate)


def test_this_machine_is_measured() -> None:
    resources = measure_resources()
    assert resources.cores >= 1
    assert resources.memory_mb >= 128


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries do not keep large blocks")
def test_large_blocks_of_memory_go_back() -> None:
    assert return_large_blocks()
