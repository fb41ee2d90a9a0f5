"""Estimate how many images a run has, how long it takes, and what it costs, before anything is sent."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from statistics import fmean, pvariance

from core.domain.addresses import address, split_address
from core.storage.packs import MAX_RESULTS
from core.storage.ports import Source
from tagfleet.bulk.listing import Listing, PrefixListing, looks_like_image
from tagfleet.bulk.run import CHUNK, PORTION
from tagfleet.request_prices import GET, LIST, PUT, SQS

PAGE = 1000
"""Keys in one page of a LIST."""
EXACT_PAGES = 200
"""Listings with more pages are sampled."""
LOOKS = 3
"""Times that a run counts messages and results for a thousand images."""
PORTION_PUTS = 5
"""Objects that a run writes for each portion: its addresses, its Parquet file, and three records of progress."""
STRATA = 64
"""Branches that are estimated separately, so that dense and sparse ones do not mix."""
WALKS = 4
"""Random walks through each branch."""
_CONFIDENCE = 1.96  # standard deviations of a normal distribution, for 95 %
_BEYOND = "\U0010ffff"


@dataclass(frozen=True, slots=True)
class Count:
    """A number of images. With 95 % confidence the true number is within `error` of `images`; 0 if all were counted."""

    images: int
    error: int = 0


@dataclass(frozen=True, slots=True)
class Fleet:
    """The workers to estimate with. `rate` is one worker's images/s; `price` is its instance's $/h."""

    rate: float
    workers: int
    price: float

    def seconds(self, images: float) -> float:
        """Return how long these images take."""
        return images / (self.rate * max(1, self.workers))

    def dollars(self, images: float) -> float:
        """Return what the instances cost; the number of workers does not matter."""
        return images / self.rate / 3600 * self.price


def requests_dollars(images: float, *, aws: bool) -> float:
    """Return $ for the requests of a run.

    Each image is read once and listed in a page of a thousand. On AWS its job is sent, received and acknowledged in
    tens. Its result is written and read once, in a pack. The run records each chunk, writes a few objects for each
    portion, and looks at its progress.
    """
    original = GET + LIST / PAGE
    queue = 3 * SQS / 10 + LOOKS * SQS / PAGE
    result = (PUT + GET) / MAX_RESULTS + LOOKS * LIST / PAGE
    run = PUT / CHUNK + PORTION_PUTS * PUT / PORTION
    return images * (original + (queue + result + run if aws else 0.0))


def count(listing: Listing, *, everything: bool, rng: random.Random, exact_pages: int = EXACT_PAGES) -> Count:
    """Count the images of a listing, or estimate them if the listing is long. Raises BadListing, Unavailable.

    Only prefix listings are sampled; all others are counted.
    """
    if not isinstance(listing, PrefixListing):
        return Count(_images((found.uri for found in listing.after("")), everything))
    following = listing.after("")
    images = _images((found.uri for found in islice(following, exact_pages * PAGE)), everything)
    return Count(images) if next(following, None) is None else _sampled(listing, everything, rng)


def _sampled(listing: PrefixListing, everything: bool, rng: random.Random) -> Count:
    tree = _Tree(listing.source, listing.uri, everything)
    total = variance = 0.0
    for prefix in tree.strata():
        walks = [tree.walk(prefix, rng) for _ in range(WALKS)]
        total += fmean(walks)
        variance += pvariance(walks) / (WALKS - 1)
    return Count(round(total), math.ceil(_CONFIDENCE * math.sqrt(variance)))


class _Tree:
    """The keys below an address as a tree whose branches are their next characters.

    A walk follows random branches down to a prefix whose keys fit on one page. The number of these keys times the
    number of branches at each step is an unbiased estimate of the whole (Knuth, Estimating the efficiency of backtrack
    programs, 1975).
    """

    def __init__(self, source: Source, uri: str, everything: bool) -> None:
        self._source = source
        self._bucket, self._top = split_address(uri)
        self._everything = everything
        self._known: dict[str, int | list[str]] = {}

    def strata(self) -> list[str]:
        """Return the widest branches, about `STRATA` of them, which together hold every key."""
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
        """Return one walk's estimate of the images below `prefix`."""
        weight = 1.0
        while isinstance(there := self._below(prefix), list):
            weight *= len(there)
            prefix = rng.choice(there)
        return weight * there

    def _below(self, prefix: str) -> int | list[str]:
        """Return the number of images if one page holds them, otherwise the prefixes of the branches."""
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
            if branch != prefix:  # an object with the same name as its branch is one in thousands; it is not counted
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
