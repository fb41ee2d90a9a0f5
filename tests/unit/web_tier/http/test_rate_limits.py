"""Limits on how often one caller may ask."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web_tier.app import create_app
from web_tier.http.rate_limits import Buckets
from web_tier.server.host_memory import HostMemory
from web_tier.server.host_tables import LevelTable


@pytest.fixture
def limited(web):
    """A client of the same service with 2 requests/s and 3 at once, and a key for it."""
    changed = web.settings.web.model_copy(update={"require_keys": True, "rate_per_s": 2.0, "rate_burst": 3})
    app = create_app(web.backend, web.settings.model_copy(update={"web": changed}), web.clock)
    parts = app.extensions["tagfleet"]
    yield app.test_client(), lambda: parts.keys.create("k", ["read"], web.clock())[1]
    parts.database.close()


def ask(client, secret):
    return client.get("/api/v1/batches", headers={"Authorization": f"Bearer {secret}"})


def test_too_many_requests_wait_as_long_as_they_are_told(limited, web):
    client, new_key = limited
    secret = new_key()
    assert [ask(client, secret).status_code for _ in range(4)] == [200, 200, 200, 429]
    refused = ask(client, secret)
    assert refused.content_type == "application/problem+json"
    assert refused.headers["Retry-After"] == "1"
    assert refused.headers["RateLimit"] == '"key";r=0;t=1'
    web.clock.now += int(refused.headers["Retry-After"])
    answer = ask(client, secret)
    assert answer.status_code == 200
    assert answer.headers["RateLimit-Policy"] == '"key";q=3;w=2'
    assert answer.headers["RateLimit"].startswith('"key";r=1;')


def test_one_key_does_not_use_up_what_another_may(limited):
    client, new_key = limited
    greedy, modest = new_key(), new_key()
    for _ in range(10):
        ask(client, greedy)
    assert ask(client, modest).status_code == 200


def test_wrong_keys_are_soon_not_even_looked_at(limited):
    client, new_key = limited
    codes = [ask(client, f"tf_{number}").status_code for number in range(25)]
    assert codes == [401] * 20 + [429] * 5
    assert client.post("/api/v1/session", json={"key": "tf_no"}).status_code == 429
    assert ask(client, new_key()).status_code == 200, "who has a right key is not kept out by those who have none"


def test_without_a_key_on_loopback_nothing_is_limited(web):
    assert "RateLimit" not in web.client.get("/api/v1/batches").headers


@given(
    st.floats(0.1, 100),
    st.integers(1, 50),
    st.lists(st.floats(-5, 5), max_size=60),
)
def test_in_no_time_more_is_granted_than_the_bucket_and_its_rate_give(per_s, burst, steps):
    """Even if the clock steps back."""
    now, forward, granted = 1000.0, 0.0, 0
    buckets = Buckets(per_s, burst, lambda: now, LevelTable(HostMemory()))
    for step in steps:
        now += step
        forward += max(0.0, step)
        granted += buckets.take("a").granted
    assert granted <= burst + forward * per_s + 1e-6


@given(st.floats(0.1, 100), st.integers(1, 20))
def test_after_the_wait_it_was_told_a_caller_is_served(per_s, burst):
    now = 0.0
    buckets = Buckets(per_s, burst, lambda: now, LevelTable(HostMemory()))
    while (taken := buckets.take("a")).granted:
        pass
    now += taken.wait_s + 1e-9
    assert buckets.take("a").granted


def test_many_callers_do_not_fill_the_memory():
    table = LevelTable(HostMemory())
    buckets = Buckets(1, 1, lambda: 0.0, table)
    for number in range(30_000):
        buckets.take(str(number))
    assert 15_000 < len(table) <= 16_384


def test_of_callers_that_are_too_many_those_are_forgotten_that_asked_longest_ago():
    now = 0.0
    buckets = Buckets(0.001, 1, lambda: now, LevelTable(HostMemory()))
    for number in range(30_000):
        now += 0.001
        buckets.take(str(number))
    assert not any(buckets.take(str(number)).granted for number in range(29_900, 30_000))


def test_processes_of_one_host_share_a_bucket():
    """A clock that is the same for all, and two views of one table."""
    table = LevelTable(HostMemory(2))
    one, other = (Buckets(1, 4, lambda: 0.0, table) for _ in range(2))
    assert [bucket.take("a").granted for bucket in (one, other) * 3] == [True] * 4 + [False] * 2


@given(st.binary(min_size=32, max_size=32))
def test_whatever_a_killed_process_left_a_bucket_works_again(left):
    """It may have died within the writing of an entry."""
    table = LevelTable(HostMemory())
    now = 1000.0
    buckets = Buckets(1, 3, lambda: now, table)
    buckets.take("a")
    offset = table.find("a").offset
    table._block[offset : offset + 32] = left
    for _ in range(5):
        buckets.take("a")
        now += 3
    assert buckets.take("a").granted
