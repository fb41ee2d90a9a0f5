"""How many images a run will have, how long it will take, and what it will cost, before anything is sent."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from statistics import fmean, pvariance

from core.domain.addresses import address, split_address
from core.storage.ports import Source
from tagfleet.bulk.listing import Below, Listing, looks_like_image
from tagfleet.request_prices import GET, LIST, PUT, SQS

PAGE = 1000
"""Keys that one LIST gives."""
EXACT_PAGES = 200
"""What has more pages is sampled."""
STRATA = 64
"""Branches that are estimated each for itself: what is crowded and what is sparse do not mix."""
WALKS = 4
"""Through each of them."""
_CONFIDENCE = 1.96  # of the normal distribution, for 95 %
_BEYOND = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Count:
    """`error`: the real number lies within so many of `images` in 95 of 100 cases; 0 where all were counted."""

    images: int
    error: int = 0


@dataclass(frozen=True, slots=True)
class Fleet:
    """`rate`: images/s of one worker; `price`: $/h of its instance."""

    rate: float
    workers: int
    price: float

    def seconds(self, images: float) -> float:
        return images / (self.rate * max(1, self.workers))

    def dollars(self, images: float) -> float:
        """The same with any number of workers."""
        return images / self.rate / 3600 * self.price


def requests_dollars(images: float, *, aws: bool) -> float:
    """An image is read, and listed with a thousand others; its messages go in tens: sent, received, acknowledged.

    Its result is stored, listed and read once more. In a local deployment only the first sentence costs anything.
    """
    original = GET + LIST / PAGE
    result = PUT + GET + 2 * LIST / PAGE
    return images * (original + (result + 3 * SQS / 10 if aws else 0.0))


def count(listing: Listing, *, everything: bool, rng: random.Random, exact_pages: int = EXACT_PAGES) -> Count:
    """Exact where the listing is short, or no prefix. Raises BadListing, Unavailable."""
    if not isinstance(listing, Below):
        return Count(_images((found.uri for found in listing.after("")), everything))
    following = listing.after("")
    images = _images((found.uri for found in islice(following, exact_pages * PAGE)), everything)
    return Count(images) if next(following, None) is None else _sampled(listing, everything, rng)


def _sampled(listing: Below, everything: bool, rng: random.Random) -> Count:
    tree = _Tree(listing.source, listing.uri, everything)
    total = variance = 0.0
    for prefix in tree.strata():
        walks = [tree.walk(prefix, rng) for _ in range(WALKS)]
        total += fmean(walks)
        variance += pvariance(walks) / (WALKS - 1)
    return Count(round(total), math.ceil(_CONFIDENCE * math.sqrt(variance)))


class _Tree:
    """The keys below an address as a tree whose branches are their next characters.

    A walk goes down by random branches to where one page holds all keys; these, times the branches that there were
    on the way, estimate the whole without bias (Knuth, Estimating the efficiency of backtrack programs, 1975).
    """

    def __init__(self, source: Source, uri: str, everything: bool) -> None:
        self._source = source
        self._bucket, self._top = split_address(uri)
        self._everything = everything
        self._known: dict[str, int | list[str]] = {}

    def strata(self) -> list[str]:
        """The widest branches, about `STRATA` of them, which together hold every key."""
        leaves: list[str] = []
        wide = deque([self._top])
        while wide and len(wide) + len(leaves) < STRATA:
            there = self._below(wide[0])
            prefix = wide.popleft()
            if isinstance(there, list):
                wide.extend(there)
            else:
                leaves.append(prefix)
        return [*leaves, *wide]

    def walk(self, prefix: str, rng: random.Random) -> float:
        weight = 1.0
        while isinstance(there := self._below(prefix), list):
            weight *= len(there)
            prefix = rng.choice(there)
        return weight * there

    def _below(self, prefix: str) -> int | list[str]:
        """How many images, where one page holds them; else the prefixes of the branches."""
        if prefix not in self._known:
            keys = self._page(prefix)
            small = len(keys) < PAGE
            self._known[prefix] = _images(keys, self._everything) if small else self._branches(prefix, keys)
        return self._known[prefix]

    def _branches(self, prefix: str, keys: list[str]) -> list[str]:
        common = _common(keys[0], keys[-1])
        if len(common) > len(prefix) and not self._page(prefix, common + _BEYOND):
            return [common] if keys[0] != common else self._branches(common, keys)
        found: list[str] = []
        while keys:
            branch = keys[0][: len(prefix) + 1]
            if branch != prefix:  # else an object that is called as its branch is: one among thousands
                found.append(branch)
            keys = self._page(prefix, branch + (_BEYOND if branch != prefix else ""))
        return found

    def _page(self, prefix: str, after: str = "") -> list[str]:
        return [info.key for info in self._source.list(address(self._bucket, prefix), after, pages=1)]


def _images(uris: Iterable[str], everything: bool) -> int:
    return sum(everything or looks_like_image(uri) for uri in uris)


def _common(first: str, last: str) -> str:
    same = 0
    while same < min(len(first), len(last)) and first[same] == last[same]:
        same += 1
    return first[:same]
