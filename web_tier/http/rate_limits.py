"""Limit how often one caller may ask, with a token bucket each; every answer says what is left (RateLimit headers)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from flask import Response, g, request

from web_tier.http.problems import Refused
from web_tier.server.client_address import counted_as
from web_tier.server.host import Host
from web_tier.server.host_tables import LevelTable
from web_tier.server.request import KEPT

_COUNTED = "rate_limit"
_WRONG_KEYS_PER_S, _WRONG_KEYS = 0.2, 20


@dataclass(frozen=True, slots=True)
class Taken:
    """The outcome of one attempt: `remaining` tokens are left, and the next one is there in `wait_s` seconds."""

    granted: bool
    remaining: int
    wait_s: float


class Buckets:
    """Token buckets by name. Each holds at most `burst` tokens and gains `per_s` a second.

    `table` keeps them for all threads and processes of this host. When it has too many, the bucket of a caller that
    asked long ago is forgotten; a forgotten one is full. `clock` gives seconds, the same for all processes; a bucket
    gains nothing while it steps back.
    """

    def __init__(self, per_s: float, burst: int, clock: Callable[[], float], table: LevelTable) -> None:
        self.per_s = per_s
        self.burst = burst
        self._clock = clock
        self._table = table

    def take(self, name: str) -> Taken:
        """Take a token from the bucket, if there is one."""
        most = float(self.burst)
        with self._table.lock:
            now = self._clock()
            entry = self._table.find(name)
            level = most
            if entry.level is not None and 0 <= entry.level <= most:  # another one is what a killed process left
                level = min(most, entry.level + max(0.0, now - entry.at) * self.per_s)
            granted = level >= 1
            level -= granted
            self._table.store(entry, level, now)
        return Taken(granted, int(level), max(0.0, (1 - level) / self.per_s))


class RateLimits:
    """The limits of this host. Several web hosts each count for themselves."""

    def __init__(self, per_s: float, burst: int, clock: Callable[[], float], host: Host) -> None:
        self._requests = Buckets(per_s, burst, clock, host.requests) if per_s else None
        self._wrong_keys = Buckets(_WRONG_KEYS_PER_S, _WRONG_KEYS, clock, host.wrong_keys)

    def count_request(self, key_id: str) -> None:
        """Count a request with this key. Raises Refused (429) after too many.

        A request whose body arrives late may run twice, and counts once.
        """
        if self._requests is None:
            return
        kept: dict[str, Taken] = request.environ.setdefault(KEPT, {})
        if _COUNTED not in kept:
            kept[_COUNTED] = self._requests.take(key_id)
        g.rate_limit = taken = kept[_COUNTED]
        if not taken.granted:
            raise _too_many("Too many requests with this key", taken)

    def count_wrong_key(self, address: str) -> None:
        """Count a wrong key. Raises Refused (429) after too many from one address or IPv6 network."""
        taken = self._wrong_keys.take(counted_as(address))
        if not taken.granted:
            raise _too_many("Too many wrong keys from your address", taken)

    def add_headers(self, response: Response) -> Response:
        """Add what the caller has left (draft-ietf-httpapi-ratelimit-headers)."""
        taken: Taken | None = g.get("rate_limit")
        if taken is not None and self._requests is not None:
            window = math.ceil(self._requests.burst / self._requests.per_s)
            response.headers["RateLimit-Policy"] = f'"key";q={self._requests.burst};w={window}'
            response.headers["RateLimit"] = f'"key";r={taken.remaining};t={math.ceil(taken.wait_s)}'
        return response


def _too_many(what: str, taken: Taken) -> Refused:
    wait_s = math.ceil(taken.wait_s)
    return Refused(429, f"{what}; try again in {wait_s} s.", headers={"Retry-After": str(max(1, wait_s))})
