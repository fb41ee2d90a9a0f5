"""Limits on how often one caller may ask."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from web_tier.app import create_app
from web_tier.http.rate_limits import Buckets


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
    buckets = Buckets(per_s, burst, lambda: now)
    for step in steps:
        now += step
        forward += max(0.0, step)
        granted += buckets.take("a").granted
    assert granted <= burst + forward * per_s + 1e-6


@given(st.floats(0.1, 100), st.integers(1, 20))
def test_after_the_wait_it_was_told_a_caller_is_served(per_s, burst):
    now = 0.0
    buckets = Buckets(per_s, burst, lambda: now)
    while (taken := buckets.take("a")).granted:
        pass
    now += taken.wait_s + 1e-9
    assert buckets.take("a").granted


def test_many_callers_do_not_fill_the_memory():
    buckets = Buckets(1, 1, lambda: 0.0)
    for number in range(10_050):
        buckets.take(str(number))
    assert len(buckets._levels) == 10_000
