"""Estimates are exact for small buckets, and their error bounds hold for large ones."""

from __future__ import annotations

import random
from bisect import bisect_right
from collections.abc import Iterator

import pytest

from core.domain.addresses import split_address
from core.storage.ports import Etag, ObjectInfo
from tagfleet.bulk import estimate
from tagfleet.bulk.listing import PrefixListing


class Keys:
    """A source of keys alone, which counts what is asked of it."""

    def __init__(self, keys: list[str]) -> None:
        self.keys = sorted(keys)
        self.requests = 0

    def list(self, uri: str, start_after: str = "", *, pages: int | None = None) -> Iterator[ObjectInfo]:
        _, prefix = split_address(uri)
        at = max(
            bisect_right(self.keys, start_after),
            bisect_right(self.keys, prefix[:-1] + chr(ord(prefix[-1]) - 1) + "\U0010ffff") if prefix else 0,
        )
        given = 0
        while at < len(self.keys) and self.keys[at].startswith(prefix):
            if given % 1000 == 0:
                if pages is not None and given == 1000 * pages:
                    return
                self.requests += 1
            given += 1
            yield ObjectInfo(self.keys[at], 1, Etag(""), 0.0)
            at += 1


def counted(keys: list[str], prefix: str = "p/", exact_pages: int = 2) -> tuple[estimate.Count, Keys]:
    source = Keys(keys)
    listing = PrefixListing(source, f"s3://b/{prefix}")
    return estimate.count(listing, everything=False, rng=random.Random(1), exact_pages=exact_pages), source


def test_what_is_small_is_counted() -> None:
    found, _ = counted([f"p/{n}.jpg" for n in range(1500)] + ["p/x.txt", "q/y.jpg"])
    assert found == estimate.Count(1500)


@pytest.mark.parametrize(
    "name",
    [
        "p/{n:07}.jpg",
        "p/2026/{day:03}/img {n:06}.jpg",
        "p/{hash:016x}.jpg",
    ],
)
def test_what_is_large_is_sampled_with_an_error_that_holds(name: str) -> None:
    rng = random.Random(2)
    keys = [name.format(n=n, day=int(rng.paretovariate(1)) % 365, hash=rng.getrandbits(64)) for n in range(60_000)]
    found, source = counted(keys)
    assert abs(found.images - 60_000) <= 1.5 * found.error + 1
    assert source.requests < 1000


def test_costs_are_those_of_the_requests_and_of_the_time() -> None:
    fleet = estimate.Fleet(rate=50, workers=4, price=0.5)
    assert fleet.seconds(1_000_000) == 5000
    assert fleet.dollars(1_000_000) == pytest.approx(1_000_000 / 50 / 3600 * 0.5)
    assert 0.56 <= estimate.requests_dollars(1_000_000, aws=True) <= 0.60, (
        "tests/unit/core/aws/test_bucket_run.py counts"
    )
    assert estimate.requests_dollars(1_000_000, aws=False) == pytest.approx(0.405)
